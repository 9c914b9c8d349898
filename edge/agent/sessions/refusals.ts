/** Connections that led nowhere, from the router's notes: how many for each reason, and which names were asked for last. */
import { existsSync } from "node:fs";
import path from "node:path";
import { edgeLimits } from "../../../schemas/limits.ts";
import { writeShared } from "../files.ts";
import { Tail } from "../tail.ts";

/**
 * `noname`: TLS without a server name. `unknown`: a name or port that leads nowhere. `plain`: not TLS. `address`: not one of
 * the tenant's client addresses. `limit`: its source has too many connections, or its tenant too many sessions.
 */
export const refusalReasons = ["noname", "unknown", "plain", "address", "limit"] as const;
export type RefusalReason = (typeof refusalReasons)[number];

/** What was asked for: a name, a port, or the owner of the route. */
export interface Refusal {
  reason: RefusalReason;
  what: string;
  /** How often since the agent started or since it was last forgotten, and when it was read last, milliseconds since 1970. */
  count: number;
  at: number;
}

const { refusedBytesMax, refusedNamesMax } = edgeLimits;
const isReason = (text: string): text is RefusalReason => (refusalReasons as readonly string[]).includes(text);

export class Refusals {
  readonly counts: Record<RefusalReason, number> = { noname: 0, unknown: 0, plain: 0, address: 0, limit: 0 };
  readonly #file: string;
  readonly #group: number | undefined;
  readonly #notes: Tail;
  /** By reason and what, the latest last. */
  readonly #last = new Map<string, Refusal>();

  constructor(runDir: string, group: number | undefined) {
    this.#file = path.join(runDir, "sessions/refused");
    this.#group = group;
    if (!existsSync(this.#file)) writeShared(this.#file, group);
    this.#notes = new Tail(this.#file, "end");
  }

  /** The newest first. */
  get last(): Refusal[] {
    return [...this.#last.values()].reverse();
  }

  /** Reads the notes that were written since the last call. The router stops writing when the file is full. */
  read(now: number): void {
    for (const line of this.#notes.read()) {
      const at = line.indexOf(" ");
      const reason = line.slice(0, at);
      if (isReason(reason)) this.note(reason, line.slice(at + 1), now);
    }
    if (this.#notes.size < refusedBytesMax / 2) return;
    writeShared(this.#file, this.#group);
    this.#notes.replaced();
  }

  note(reason: RefusalReason, what: string, now: number): void {
    this.counts[reason]++;
    if (what === "-") return;
    const key = `${reason} ${what}`;
    const { count = 0 } = this.#last.get(key) ?? {};
    this.#last.delete(key);
    this.#last.set(key, { reason, what, count: count + 1, at: now });
    if (this.#last.size > refusedNamesMax) this.#last.delete(this.#last.keys().next().value!);
  }
}
