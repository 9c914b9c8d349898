/** Logs what goes wrong, each matter again only after a pause that grows: a fault that stays, or comes and goes, fills no disk. */
import type { Logger } from "pino";
import { clock } from "./clock.ts";

const firstPauseMs = 1000;
const pauseMax = 10 * 60_000;
/** A matter that was right for so long is new again. */
const forgetMs = 5 * 60_000;

interface Matter {
  at: number;
  quietUntil: number;
  pauseMs: number;
  /** How often it went wrong since it was last logged. */
  times: number;
}

export class Complaints {
  readonly #log: Pick<Logger, "warn">;
  readonly #matters = new Map<string, Matter>();

  constructor(log: Pick<Logger, "warn">) {
    this.#log = log;
  }

  /** `matter` is a fixed text: what goes wrong, without what differs each time. */
  wrong(matter: string, error: unknown): void {
    const now = clock();
    const known = this.#matters.get(matter);
    const fresh = { at: now, quietUntil: 0, pauseMs: firstPauseMs, times: 0 };
    const state = known === undefined || now - known.at >= forgetMs ? fresh : known;
    this.#matters.set(matter, state);
    state.at = now;
    state.times++;
    if (now < state.quietUntil) return;
    this.#log.warn({ err: error, times: state.times }, matter);
    state.times = 0;
    state.quietUntil = now + state.pauseMs;
    state.pauseMs = Math.min(pauseMax, state.pauseMs * 2);
  }
}
