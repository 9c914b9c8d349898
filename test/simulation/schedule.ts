/** Virtual time, and the order in which things take effect: whatever is ready, the seed decides what comes next. */
import { syncBuiltinESMExports } from "node:module";
import { setImmediate as drained } from "node:timers/promises";
import FakeTimers from "@sinonjs/fake-timers";
import { Breach } from "./laws.ts";
import type { Random } from "./random.ts";

const begin = Date.parse("2026-01-01T00:00:00Z");

export class Schedule {
  readonly random: Random;
  /** What happened, in order, in virtual milliseconds. */
  readonly history: string[] = [];
  breach: string | undefined;
  /** Nothing is begun any more. */
  over = false;
  readonly #ready: (() => void)[] = [];
  readonly #random: () => number;
  readonly #clock = FakeTimers.install({
    shouldClearNativeTimers: true,
    now: begin,
    toFake: ["Date", "setTimeout", "clearTimeout", "setInterval", "clearInterval"],
  });

  constructor(random: Random) {
    this.random = random;
    this.#random = Math.random;
    Math.random = random.next; // retries' jitter
    syncBuiltinESMExports(); // middy takes its timers from the module
  }

  get now(): number {
    return Date.now() - begin;
  }

  note(what: string): void {
    this.history.push(`${String(this.now).padStart(8)} ${what}`);
  }

  /** A law is broken, or the simulation itself: the first counts. */
  fail(error: unknown): void {
    this.breach ??= error instanceof Breach ? error.message : `failed: ${(error as Error).stack}`;
  }

  /** Takes effect some time after `ms`, beside whatever else is ready then. */
  later(ms: number, run: () => void): void {
    if (ms > 0) setTimeout(() => this.#ready.push(run), ms);
    else this.#ready.push(run);
  }

  /**
   * One step after the other until the time, or until the condition holds, which is looked at once a virtual second.
   * @throws Breach
   */
  async run(until: number, condition: () => boolean): Promise<boolean> {
    let looked = this.now;
    for (;;) {
      await drained();
      if (this.breach !== undefined) throw new Breach(this.breach);
      if (this.now >= until) return false;
      if (this.now - looked >= 1000) {
        looked = this.now;
        if (condition()) return true;
      }
      const [next] = this.#ready.length > 0 ? this.#ready.splice(this.random.below(this.#ready.length), 1) : [];
      if (next === undefined) this.#clock.next();
      else {
        next();
        if (this.random.chance(0.5)) this.#clock.tick(this.random.between(1, 15));
      }
    }
  }

  /** Once whatever `end` ends has ended. */
  async stop(end: () => void): Promise<void> {
    this.over = true;
    end();
    await drained();
    this.#clock.uninstall();
    syncBuiltinESMExports();
    Math.random = this.#random;
  }
}
