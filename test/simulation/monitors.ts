/** Monitors that take an edge or a region for degraded, and later for healthy. */
import { canonicalJson } from "../../core/canonical.ts";
import type { EdgeHealth } from "../../schemas/events.ts";
import type { Schedule } from "./schedule.ts";

/** An edge, or a region of a cell. */
export interface Subject {
  cell: string;
  region: string;
  edgeId: string | undefined;
}

export class Monitors {
  readonly #schedule: Schedule;
  readonly #put: (event: EdgeHealth) => void;
  /** Until when each subject is degraded that ever was. */
  readonly #degraded = new Map<string, { subject: Subject; until: number }>();

  /** `put` puts a health event on the bus. */
  constructor(schedule: Schedule, put: (event: EdgeHealth) => void) {
    this.#schedule = schedule;
    this.#put = put;
  }

  degrade(subject: Subject, ms: number): void {
    const key = canonicalJson(subject);
    this.#degraded.set(key, { subject, until: this.#schedule.now + ms });
    this.#say(subject, "degraded");
    setTimeout(() => {
      if (this.#degraded.get(key)!.until <= this.#schedule.now) this.#say(subject, "healthy");
    }, ms);
  }

  /** A restored ledger may have forgotten it. */
  sayAgain(): void {
    for (const { subject, until } of this.#degraded.values())
      this.#say(subject, until > this.#schedule.now ? "degraded" : "healthy");
  }

  #say({ cell, region, edgeId }: Subject, health: "healthy" | "degraded"): void {
    this.#schedule.note(`${edgeId ?? region} of ${cell} is ${health}`);
    this.#put({ cell, region, ...(edgeId === undefined ? {} : { edgeId }), health, at: Date.now() });
  }
}
