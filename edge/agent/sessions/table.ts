/** The owner of each session, and the byte counts of each tenant, from the lines that the router and nginx write. */
import { sourceOf, type TenantUse } from "./limits.ts";
import { type Live, sessionKey } from "./sockets.ts";

export interface Owner {
  slot: number;
  tenantId: string;
}

export interface Carried {
  opened: number;
  ended: number;
  /** Ended because no backend accepted them. */
  failed: number;
  /** Bytes from clients and to them, of sessions that ended. */
  received: number;
  sent: number;
}

interface Session {
  owner: string;
  source: string;
  /** nginx's connection number: a client may reuse its port before the last line of its former session is written. */
  connection: string;
  /** Consecutive comparisons with the kernel's list that did not find it. */
  missed: number;
}

/** A tenant's open sessions, by source too, and those that were opened since `since`, within a second. */
interface Use {
  open: number;
  lately: number;
  since: number;
  sources: Map<string, number>;
}

export const ownerOf = (key: string): Owner => {
  const [slot = "", tenantId = ""] = key.split(" ");
  return { slot: Number(slot), tenantId };
};

/** Comparisons that a session may miss before it is forgotten: its last line is written up to a second late. */
const missedMax = 2;

export class SessionTable {
  readonly #sessions = new Map<string, Session>();
  readonly #carried = new Map<string, Carried>();
  readonly #uses = new Map<string, Use>();
  #touched = new Set<string>();
  openedAt = 0;

  /**
   * The router's lines: `slot tenant backend connection address port serverPort`.
   * @returns the backends that were chosen
   */
  opened(lines: string[], now: number): Set<string> {
    const backends = new Set<string>();
    for (const line of lines) {
      const fields = line.split(" ");
      if (fields.length !== 7) continue;
      const [, tenantId, backend] = fields as [string, string, string];
      this.#add(fields);
      this.#of(tenantId).opened++;
      this.openedAt = now;
      const use = this.#uses.get(tenantId)!;
      if (now - use.since >= 1000) Object.assign(use, { since: now, lately: 0 });
      use.lately++;
      backends.add(backend);
    }
    return backends;
  }

  /** nginx's lines: `slot tenant connection address port serverPort status received sent seconds`. */
  ended(lines: string[]): void {
    for (const line of lines) {
      const fields = line.split(" ");
      if (fields.length !== 10) continue;
      const [, tenantId, connection, address, port, serverPort, status, received, sent] = fields as string[];
      const key = sessionKey(address!, port!, serverPort!);
      if (this.#sessions.get(key)?.connection === connection) this.#delete(key);
      const carried = this.#of(tenantId!);
      carried.ended++;
      if (status === "502") carried.failed++;
      carried.received += Number(received);
      carried.sent += Number(sent);
    }
  }

  /** Restores an earlier run's sessions from router lines, newest last. Does not count them as opened again. */
  restore(lines: string[]): void {
    for (const line of lines) {
      const fields = line.split(" ");
      if (fields.length !== 7) continue;
      this.#add(fields);
      this.#of(fields[1]!);
    }
  }

  /** Forgets sessions that the kernel has not listed for a while: their last line was lost. */
  compare(live: Live[]): void {
    const there = new Set(live.map(({ key }) => key));
    for (const [key, session] of this.#sessions) {
      session.missed = there.has(key) ? 0 : session.missed + 1;
      if (session.missed > missedMax) this.#delete(key);
    }
  }

  /** Forgets the totals of tenants that are no longer served and have no session. */
  prune(served: Set<string>): void {
    const open = new Set([...this.counts().keys()].map((owner) => ownerOf(owner).tenantId));
    for (const tenantId of this.#carried.keys())
      if (!open.has(tenantId) && !served.has(tenantId)) this.#carried.delete(tenantId);
    for (const [tenantId, use] of this.#uses) if (use.open === 0 && !served.has(tenantId)) this.#uses.delete(tenantId);
  }

  ownerOf(key: string): Owner | undefined {
    const session = this.#sessions.get(key);
    return session === undefined ? undefined : ownerOf(session.owner);
  }

  /** Tenants that opened sessions since the last call. */
  takeTouched(): Set<string> {
    const touched = this.#touched;
    this.#touched = new Set();
    return touched;
  }

  /** A tenant's sessions for its limits; undefined when it has none. */
  useOf(tenantId: string, now: number): TenantUse | undefined {
    const use = this.#uses.get(tenantId);
    return use && { open: use.open, sources: use.sources, lately: now - use.since < 1000 ? use.lately : 0 };
  }

  /** Owner → number of its open sessions. */
  counts(): Map<string, number> {
    const counts = new Map<string, number>();
    for (const { owner } of this.#sessions.values()) counts.set(owner, (counts.get(owner) ?? 0) + 1);
    return counts;
  }

  /** The sessions of these owners, by owner. */
  keysOf(owners: Iterable<string>): Map<string, string[]> {
    const keys = new Map([...owners].map((owner) => [owner, [] as string[]]));
    for (const [key, { owner }] of this.#sessions) keys.get(owner)?.push(key);
    return keys;
  }

  carried(): [string, Carried][] {
    return [...this.#carried];
  }

  /** A router line for each open session, from which a later run restores this table. */
  lines(): string[] {
    return [...this.#sessions].map(([key, { owner, connection }]) => `${owner} - ${connection} ${key}`);
  }

  #add(fields: string[]): void {
    const [slot, tenantId, , connection = "", address = "", port = "", serverPort = ""] = fields;
    const key = sessionKey(address, port, serverPort);
    this.#delete(key); // its last line was lost, or comes later
    const source = sourceOf(address);
    this.#sessions.set(key, { owner: `${slot} ${tenantId}`, source, connection, missed: 0 });
    this.#touched.add(tenantId!);
    const use = this.#uses.get(tenantId!) ?? { open: 0, lately: 0, since: 0, sources: new Map() };
    this.#uses.set(tenantId!, use);
    use.open++;
    use.sources.set(source, (use.sources.get(source) ?? 0) + 1);
  }

  #delete(key: string): void {
    const session = this.#sessions.get(key);
    if (session === undefined) return;
    this.#sessions.delete(key);
    const { tenantId } = ownerOf(session.owner);
    const use = this.#uses.get(tenantId)!;
    use.open--;
    const left = use.sources.get(session.source)! - 1;
    if (left > 0) use.sources.set(session.source, left);
    else use.sources.delete(session.source);
  }

  #of(tenantId: string): Carried {
    const known = this.#carried.get(tenantId);
    if (known !== undefined) return known;
    const carried = { opened: 0, ended: 0, failed: 0, received: 0, sent: 0 };
    this.#carried.set(tenantId, carried);
    return carried;
  }
}
