/** Virtual time, and the order of effects: the seed decides which ready step comes next. */
import { syncBuiltinESMExports } from "node:module";
import { setImmediate as drained } from "node:timers/promises";
import FakeTimers from "@sinonjs/fake-timers";
import type { Random } from "../../local/random.ts";
import { Breach } from "./laws.ts";

const begin = Date.parse("2026-01-01T00:00:00Z");

export class Schedule {
  readonly random: Random;
  /** What happened, in order, in virtual milliseconds. */
  readonly history: string[] = [];
  breach: string | undefined;
  /** The run has ended: no new invocation starts. */
  over = false;
  readonly #ready: (() => void)[] = [];
  readonly #random: () => number;
  readonly #clock = FakeTimers.install({
    shouldClearNativeTimers: true,
    now: begin,
    toFake: ["Date", "setTimeout", "clearTimeout", "setInterval", "clearInterval"],
  });

  readonly #tickShare: number;
  readonly #choose: (count: number) => number;

  /**
   * Time goes on after `tickShare` of the steps: none are slow if it is 0, however many are ready at once. `choose` decides
   * which of `count` ready steps comes next, the first one being ready for longest.
   */
  constructor(random: Random, { tickShare = 0.5, choose = (count: number) => random.below(count) } = {}) {
    this.random = random;
    this.#tickShare = tickShare;
    this.#choose = choose;
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

  /** Records a broken law, or a failure of the simulation. Only the first counts. */
  fail(error: unknown): void {
    this.breach ??= error instanceof Breach ? error.message : `failed: ${(error as Error).stack}`;
  }

  /** Makes `run` ready after `ms`. The seed decides its order among all ready steps. */
  later(ms: number, run: () => void): void {
    if (ms > 0) setTimeout(() => this.#ready.push(run), ms);
    else this.#ready.push(run);
  }

  /**
   * Runs one step after the other until the time, or until the condition holds. Checks it once a virtual second.
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
      const [next] = this.#ready.length > 0 ? this.#ready.splice(this.#choose(this.#ready.length), 1) : [];
      if (next === undefined) this.#clock.next();
      else {
        next();
        if (this.random.chance(this.#tickShare)) this.#clock.tick(this.random.between(1, 15));
      }
    }
  }

  /** Calls `end`, waits for its effects, and restores the real clock. */
  async stop(end: () => void): Promise<void> {
    this.over = true;
    end();
    await drained();
    this.#clock.uninstall();
    syncBuiltinESMExports();
    Math.random = this.#random;
  }
}
