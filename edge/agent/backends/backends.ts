/** The health of every backend that a route names, from checks within a budget and from users' failed connections. */
import { setTimeout as sleep } from "node:timers/promises";
import * as z from "zod";
import { clock } from "../clock.ts";
import { readIfThere, writeAtomically } from "../files.ts";
import type { BackendCheck, Look } from "./connect.ts";
import {
  type Backend,
  checkEveryMs,
  hotEveryMs,
  idleEveryMs,
  isUnknown,
  observe,
  type Sign,
  unknownBackend,
} from "./damping.ts";

/** Backends, in an order that stays. */
export interface BackendSet {
  readonly size: number;
  has(backend: string): boolean;
  keys(): Iterator<string>;
}

export interface BackendsOptions {
  /** The backends that are watched. An edge may have 300,000, so they are not listed here again. */
  watched: () => BackendSet;
  /** Keeps the backends that are down for the next run, so that a restart sends no users to them. */
  file: string;
  look: Look;
  /** How a backend is checked; undefined: by a connection. */
  checkOf?: (backend: string) => BackendCheck | undefined;
  /** The health of these backends changed: their routes must be rewritten. */
  onChange: (backends: string[]) => void;
  onTrouble: (error: unknown) => void;
  /** Maximum checks per second. */
  budget?: number;
}

const Down = z.array(
  z.tuple([
    z.string(),
    z.object({
      up: z.boolean(),
      against: z.number(),
      fellAt: z.number(),
      falls: z.number(),
      isMute: z.boolean().optional(),
    }),
  ]),
);

/** A tenth of the budget is reserved for idle backends, even if many are hot. */
const idleShare = 0.1;

/** A connection that lacks something of this edge fails within this time. */
const ownFaultMs = 50;

/** A backend that answered is not asked for a word again for so long, and so many are asked side by side. */
const wordEveryMs = 5000;
const wordsMax = 50;

export class Backends {
  readonly #options: Required<BackendsOptions>;
  readonly #known = new Map<string, Backend>();
  /** What an earlier run knew of backends that are not watched yet. */
  readonly #former: Map<string, Backend>;
  readonly #usedAt = new Map<string, number>();
  /** When backends in use or in doubt are due. All have the same interval, so the front is always due first. */
  readonly #often = new Map<string, number>();
  /** Backends that were never checked. They wait for those in use: a snapshot may bring a hundred thousand at once. */
  readonly #fresh = new Set<string>();
  /** The others are idle: they are checked one after the other, in circles. */
  #circle: Iterator<string> | undefined;
  /** How many steps of the circle are due, at most those of a second. */
  #idleDue = 0;
  readonly #changed = new Set<string>();
  #lastTick: number | undefined;
  readonly checks: Record<Exclude<Sign, "failed" | "mute">, number> = { connected: 0, refused: 0, silent: 0 };
  /** Users' failed connections that were this edge's own fault. */
  ownFaults = 0;
  readonly #failing = new Set<string>();
  /** When backends were asked for a word. */
  readonly #askedAt = new Map<string, number>();
  #asking = 0;

  constructor(options: BackendsOptions) {
    this.#options = { budget: 500, checkOf: () => undefined, ...options };
    this.#former = new Map(readDown(options.file));
  }

  isUp = (backend: string): boolean => (this.#known.get(backend) ?? this.#former.get(backend))?.up ?? true;

  get down(): string[] {
    return [...this.#known].flatMap(([backend, { up }]) => (up ? [] : [backend])).sort();
  }

  get count(): number {
    return this.#options.watched().size;
  }

  /** These backends are watched from now on. They are checked soon. */
  watch(backends: Iterable<string>): void {
    for (const backend of backends) {
      this.#fresh.add(backend);
      const former = this.#former.get(backend);
      if (former !== undefined) this.#known.set(backend, former);
      this.#former.delete(backend);
    }
  }

  /** Forgets these: they are not watched any more. */
  unwatch(backends: Iterable<string>): void {
    for (const backend of backends)
      for (const map of [this.#often, this.#fresh, this.#known, this.#usedAt, this.#askedAt]) map.delete(backend);
  }

  /** A user was sent to this backend. */
  used(backend: string, now: number): void {
    if (!this.#isWatched(backend)) return;
    this.#usedAt.set(backend, now);
    if (!this.#often.has(backend)) this.#often.set(backend, now);
    this.#fresh.delete(backend);
  }

  #isWatched = (backend: string) => this.#options.watched().has(backend);

  /**
   * nginx could not connect a user to this backend. That may be this edge's own fault, if it has no port or descriptor left:
   * then a connection of the agent fails at once for the same reason.
   */
  async failed(backend: string, now: number): Promise<void> {
    if (!this.isUp(backend) || this.#failing.has(backend)) return;
    if (!this.#isWatched(backend)) return;
    this.#failing.add(backend);
    const sign = await Promise.race([this.#options.look(backend, { type: "tcp" }), sleep(ownFaultMs, "none" as const)]);
    this.#failing.delete(backend);
    if (sign === undefined) this.ownFaults++;
    else this.#note(backend, "failed", now);
  }

  /**
   * A client of TLS got nothing back from this backend. It may be the client's fault, so the backend is asked for a word; one
   * that accepts connections and says nothing is down.
   */
  doubt(backend: string, now: number): void {
    const check = this.#options.checkOf(backend);
    if (!this.#isWatched(backend) || !this.isUp(backend) || check?.type === "none" || this.#asking >= wordsMax) return;
    if (now - (this.#askedAt.get(backend) ?? 0) < wordEveryMs) return;
    this.#askedAt.set(backend, now);
    this.#asking++;
    void this.#options.look(backend, wordOf(check)).then((sign) => {
      this.#asking--;
      if (sign === undefined) return;
      this.checks[sign]++;
      if (sign === "silent") this.#note(backend, "mute", clock());
    });
  }

  /** How a backend is checked now. */
  #checkOf(backend: string): BackendCheck | undefined {
    const check = this.#options.checkOf(backend);
    return this.#known.get(backend)?.isMute ? wordOf(check) : check;
  }

  /** Starts the checks that are due. Call it many times a second. */
  tick(now: number): void {
    const elapsed = Math.min(1000, now - (this.#lastTick ?? now));
    this.#lastTick = now;
    const budget = (this.#options.budget * elapsed) / 1000;
    const { size } = this.#options.watched();
    this.#idleDue = Math.min(1 + (size * 1000) / idleEveryMs, this.#idleDue + (size * elapsed) / idleEveryMs);
    const reserved = Math.min(Math.ceil(budget * idleShare), this.#fresh.size + Math.floor(this.#idleDue));
    let left = Math.floor(budget);
    left -= this.#begin(this.#dueOften(now), left - reserved, now);
    left -= this.#begin(this.#fresh, left, now);
    this.#begin(this.#dueIdle(), left, now);
  }

  *#dueOften(now: number): Generator<string> {
    for (const [backend, due] of this.#often) {
      if (due > now) return;
      yield backend;
    }
  }

  *#dueIdle(): Generator<string> {
    while (this.#idleDue >= 1) {
      this.#idleDue--;
      const backend = this.#nextInCircle();
      if (backend === undefined) return;
      if (!this.#often.has(backend) && !this.#fresh.has(backend)) yield backend;
    }
  }

  /** The end of a round takes no step of its own: with few backends, rounds would be longer. */
  #nextInCircle(): string | undefined {
    let next = this.#circle?.next();
    if (next === undefined || next.done) {
      this.#circle = this.#options.watched().keys();
      next = this.#circle.next();
    }
    return next.done ? undefined : next.value;
  }

  /** Starts checks of at most so many of these. Returns how many. */
  #begin(due: Iterable<string>, most: number, now: number): number {
    let begun = 0;
    if (most <= 0) return begun;
    for (const backend of due) {
      this.#place(backend, now);
      const check = this.#checkOf(backend);
      if (check?.type === "none" && this.isUp(backend)) continue;
      begun++;
      void this.#options.look(backend, check).then((sign) => {
        if (sign === undefined) return; // this edge itself could not check
        this.checks[sign]++;
        this.#note(backend, sign, clock());
      });
      if (begun >= most) break;
    }
    return begun;
  }

  /** Decides when the backend is checked again. */
  #place(backend: string, now: number): void {
    this.#fresh.delete(backend);
    this.#often.delete(backend);
    const every = checkEveryMs(this.#known.get(backend) ?? unknownBackend, this.#usedAt.get(backend) ?? 0, now);
    if (every === hotEveryMs) this.#often.set(backend, now + every);
  }

  #note(backend: string, sign: Sign, now: number): void {
    if (!this.#isWatched(backend)) return; // not any more
    const before = this.#known.get(backend) ?? unknownBackend;
    const after = observe(before, sign, now);
    if (isUnknown(after))
      this.#known.delete(backend); // most are: of them there is nothing to remember
    else this.#known.set(backend, after);
    if (!this.#often.has(backend) && (after.against > 0 || !after.up)) this.#place(backend, now);
    if (after.up === before.up) return;
    if (this.#changed.size === 0) setImmediate(() => this.#tell()); // a failed region changes many at once
    this.#changed.add(backend);
  }

  #tell(): void {
    const changed = [...this.#changed];
    this.#changed.clear();
    this.#options.onChange(changed);
    try {
      writeAtomically(this.#options.file, JSON.stringify([...this.#known].filter(([, { up }]) => !up)));
    } catch (error) {
      this.#options.onTrouble(error); // the next run must check again
    }
  }
}

/** Asks for a word in the way in which this check would ask. */
function wordOf(check: BackendCheck | undefined): BackendCheck {
  const { name, proxyProtocol } = check ?? {};
  return {
    type: "word",
    ...(name === undefined ? {} : { name }),
    ...(proxyProtocol === undefined ? {} : { proxyProtocol }),
  };
}

function readDown(file: string): [string, Backend][] {
  try {
    return Down.parse(JSON.parse(readIfThere(file) ?? "[]"));
  } catch {
    return []; // not our format: unknown backends count as up
  }
}
