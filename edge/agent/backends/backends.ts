/** The health of every backend that a route names, from checks within a budget and from users' failed connections. */
import { setTimeout as sleep } from "node:timers/promises";
import * as z from "zod";
import { clock } from "../clock.ts";
import { readIfThere, writeAtomically } from "../files.ts";
import type { BackendCheck, Look } from "./connect.ts";
import { type Backend, checkEveryMs, hotEveryMs, isUnknown, observe, type Sign, unknownBackend } from "./damping.ts";

export interface BackendsOptions {
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
  /** Due times. All entries of a queue have the same interval, so the front is always due first. */
  readonly #often = new Map<string, number>();
  readonly #seldom = new Map<string, number>();
  /** Backends that were never checked. They wait for those in use: a snapshot may bring a hundred thousand at once. */
  readonly #fresh = new Map<string, number>();
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
    return this.#often.size + this.#seldom.size + this.#fresh.size;
  }

  /** Watches these backends too. They are checked soon. */
  watch(backends: Iterable<string>, now: number): void {
    for (const backend of backends) {
      if (this.#isWatched(backend)) continue;
      this.#fresh.set(backend, now);
      const former = this.#former.get(backend);
      if (former !== undefined) this.#known.set(backend, former);
      this.#former.delete(backend);
    }
  }

  /** Forgets these. */
  unwatch(backends: Iterable<string>): void {
    for (const backend of backends)
      for (const map of [this.#often, this.#seldom, this.#fresh, this.#known, this.#usedAt, this.#askedAt])
        map.delete(backend);
  }

  /** A user was sent to this backend. */
  used(backend: string, now: number): void {
    if (!this.#isWatched(backend)) return;
    this.#usedAt.set(backend, now);
    if (this.#seldom.delete(backend) || this.#fresh.delete(backend)) this.#often.set(backend, now);
  }

  #isWatched = (backend: string) => this.#often.has(backend) || this.#seldom.has(backend) || this.#fresh.has(backend);

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
    const share = Math.ceil(budget * idleShare);
    const reserved = Math.min(share, this.#fresh.size + dueIn(this.#seldom, now, share));
    let begun = this.#begin(this.#often, now, Math.floor(budget) - reserved);
    begun += this.#begin(this.#fresh, now, Math.floor(budget) - begun);
    this.#begin(this.#seldom, now, Math.floor(budget) - begun);
  }

  #begin(queue: Map<string, number>, now: number, most: number): number {
    let begun = 0;
    for (const [backend, due] of queue) {
      if (due > now || begun >= most) break;
      this.#enqueue(backend, now);
      const check = this.#checkOf(backend);
      if (check?.type === "none" && this.isUp(backend)) continue;
      begun++;
      void this.#options.look(backend, check).then((sign) => {
        if (sign === undefined) return; // this edge itself could not check
        this.checks[sign]++;
        this.#note(backend, sign, clock());
      });
    }
    return begun;
  }

  #enqueue(backend: string, now: number): void {
    for (const queue of [this.#often, this.#seldom, this.#fresh]) queue.delete(backend);
    const every = checkEveryMs(this.#known.get(backend) ?? unknownBackend, this.#usedAt.get(backend) ?? 0, now);
    (every === hotEveryMs ? this.#often : this.#seldom).set(backend, now + every);
  }

  #note(backend: string, sign: Sign, now: number): void {
    if (!this.#isWatched(backend)) return; // not any more
    const before = this.#known.get(backend) ?? unknownBackend;
    const after = observe(before, sign, now);
    if (isUnknown(after))
      this.#known.delete(backend); // most are: of them there is nothing to remember
    else this.#known.set(backend, after);
    if (!this.#often.has(backend) && (after.against > 0 || !after.up)) this.#enqueue(backend, now);
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

/** How many are due, counted to `most`. */
function dueIn(queue: Map<string, number>, now: number, most: number): number {
  let due = 0;
  for (const at of queue.values()) {
    if (at > now || due >= most) break;
    due++;
  }
  return due;
}

function readDown(file: string): [string, Backend][] {
  try {
    return Down.parse(JSON.parse(readIfThere(file) ?? "[]"));
  } catch {
    return []; // not our format: unknown backends count as up
  }
}
