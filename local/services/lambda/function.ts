/** One Lambda function and its sandboxes: one for each invocation that runs at the same time. */
import { randomUUID } from "node:crypto";
import { createWriteStream, type WriteStream } from "node:fs";
import type { Faults } from "../../faults.ts";
import type { FunctionConfig, FunctionError } from "./config.ts";
import { Sandbox } from "./sandbox.ts";

export type Invocation = { payload: string; requestId: string } | { error: FunctionError; requestId: string };

/** Sandboxes beyond the first are ended after this long without an invocation; AWS keeps them for minutes. */
const idleMs = 15_000;
/** When a killed invocation dies, at the latest. */
const killWithinMs = 200;

export class LambdaFunction {
  readonly config: FunctionConfig;
  readonly #faults: Faults;
  readonly #idle: { sandbox: Sandbox; since: number }[] = [];
  readonly #busy = new Set<Sandbox>();
  #log: WriteStream | undefined;
  #reaper: NodeJS.Timeout | undefined;

  constructor(config: FunctionConfig, faults: Faults) {
    this.config = config;
    this.#faults = faults;
  }

  /** Invocations under way. */
  get running(): number {
    return this.#busy.size;
  }

  /** Runs the handler on an event's JSON, in a sandbox that no other invocation uses meanwhile. */
  async invoke(event: string, requestId: string = randomUUID()): Promise<Invocation> {
    const sandbox = this.#take();
    this.#busy.add(sandbox);
    const began = performance.now();
    if (this.#faults.happens("functionKilled"))
      setTimeout(() => this.#busy.has(sandbox) && sandbox.kill("killed"), this.#faults.random.below(killWithinMs));
    const result = await sandbox.run(requestId, event, this.config.timeoutSeconds * 1000);
    this.#busy.delete(sandbox);
    if (!sandbox.isDead) this.#idle.push({ sandbox, since: Date.now() });
    this.#reapLater();
    this.#log?.write(`REPORT RequestId: ${requestId}\tDuration: ${(performance.now() - began).toFixed(2)} ms\n`);
    return { ...result, requestId };
  }

  #take(): Sandbox {
    for (let last = this.#idle.pop(); last !== undefined; last = this.#idle.pop())
      if (!last.sandbox.isDead) return last.sandbox;
    this.#log ??= createWriteStream(this.config.logFile, { flags: "a" }).setMaxListeners(0);
    return new Sandbox(this.config, this.#log);
  }

  /** The sandbox used last is at the end: the oldest ones go first, and one stays warm. */
  #reapLater(): void {
    if (this.#reaper !== undefined || this.#idle.length < 2) return;
    this.#reaper = setTimeout(() => {
      this.#reaper = undefined;
      while (this.#idle.length > 1 && Date.now() - this.#idle[0]!.since >= idleMs)
        void this.#idle.shift()!.sandbox.stop();
      this.#reapLater();
    }, idleMs).unref();
  }

  async stop(): Promise<void> {
    clearTimeout(this.#reaper);
    const all = [...this.#busy, ...this.#idle.map(({ sandbox }) => sandbox)];
    await Promise.all(all.map((sandbox) => sandbox.stop()));
    this.#log?.end();
  }
}
