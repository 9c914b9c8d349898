/** The owner of each session, and the byte counts of each tenant, from the lines that the router and nginx write. */
import { sourceOf, type TenantUse } from "./limits.ts";
import { type OpenedLine, openedLine, parseEnded, parseOpened } from "./lines.ts";
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
  backend: string;
  /** nginx's connection number: a client may reuse its port before the last line of its former session is written. */
  connection: string;
  openedAt: number;
  /** When its client's connection was last seen in the kernel's list. */
  seenAt: number;
  /** The client got something back, or it is known that it got nothing for too long. */
  isJudged: boolean;
}

/** A tenant's open sessions, by source too, and those that were opened since `since`, within a second. */
interface Use {
  open: number;
  lately: number;
  since: number;
  sources: Map<string, number>;
}

/** A client that leaves earlier without an answer says nothing about the backend. */
const patientSeconds = 1;

export const ownerOf = (key: string): Owner => {
  const [slot = "", tenantId = ""] = key.split(" ");
  return { slot: Number(slot), tenantId };
};

export class SessionTable {
  readonly #sessions = new Map<string, Session>();
  readonly #carried = new Map<string, Carried>();
  readonly #uses = new Map<string, Use>();
  #touched = new Set<string>();
  /** Sessions that ended with nothing back: `serverPort backend`. */
  readonly #mute = new Set<string>();
  openedAt = 0;

  /** Open sessions that are known. */
  get size(): number {
    return this.#sessions.size;
  }

  /**
   * The router's lines.
   * @returns the backends that were chosen
   */
  opened(lines: string[], now: number): Set<string> {
    const backends = new Set<string>();
    for (const line of lines) {
      const opened = parseOpened(line);
      if (opened === undefined) continue;
      const { tenantId, backend } = opened;
      this.#add(opened, now);
      this.#of(tenantId).opened++;
      this.openedAt = now;
      const use = this.#uses.get(tenantId)!;
      if (now - use.since >= 1000) Object.assign(use, { since: now, lately: 0 });
      use.lately++;
      backends.add(backend);
    }
    return backends;
  }

  /** nginx's lines. */
  ended(lines: string[]): void {
    for (const line of lines) {
      const ended = parseEnded(line);
      if (ended === undefined) continue;
      const { tenantId, connection, serverPort, status, received, sent, seconds } = ended;
      const key = sessionKey(ended.address, ended.port, serverPort);
      const session = this.#sessions.get(key);
      if (session !== undefined && session.connection === connection) {
        this.#delete(key);
        const isMute = status !== "502" && sent === "0" && Number(seconds) >= patientSeconds && !session.isJudged;
        if (isMute) this.#mute.add(`${serverPort} ${session.backend}`);
      }
      const carried = this.#of(tenantId);
      carried.ended++;
      if (status === "502") carried.failed++;
      carried.received += Number(received);
      carried.sent += Number(sent);
    }
  }

  /** Restores an earlier run's sessions from router lines, newest last. Does not count them as opened again. */
  restore(lines: string[], now: number): void {
    for (const line of lines) {
      const opened = parseOpened(line);
      if (opened === undefined) continue;
      this.#add(opened, now);
      this.#of(opened.tenantId);
    }
  }

  /** Notes which sessions' clients the kernel lists. */
  compare(live: Live[], now: number): void {
    for (const { key, sent } of live) {
      const session = this.#sessions.get(key);
      if (session === undefined) continue;
      session.seenAt = now;
      session.isJudged ||= sent > 0;
    }
  }

  /** Keys of the sessions whose clients the kernel has not listed for so long, by backend. */
  unseen(forMs: number, now: number): Map<string, string[]> {
    const keys = [...this.#sessions].flatMap(([key, { seenAt }]) => (now - seenAt >= forMs ? [key] : []));
    return Map.groupBy(keys, (key) => this.#sessions.get(key)!.backend);
  }

  seenAt(key: string): number {
    return this.#sessions.get(key)?.seenAt ?? 0;
  }

  /**
   * Backends of sessions on this port that got no byte back within `afterMs`, or until they ended. Each session counts once. Only for a port whose
   * clients are answered at once, as those of TLS are.
   */
  takeMute(serverPort: number, afterMs: number, now: number): Set<string> {
    for (const [key, session] of this.#sessions) {
      if (session.isJudged || now - session.openedAt < afterMs) continue;
      session.isJudged = true;
      this.#mute.add(`${key.slice(key.lastIndexOf(" ") + 1)} ${session.backend}`);
    }
    const taken = [...this.#mute].flatMap((one) => {
      const [port, backend = ""] = one.split(" ");
      return Number(port) === serverPort ? [backend] : [];
    });
    this.#mute.clear();
    return new Set(taken);
  }

  backendOf(key: string): string | undefined {
    return this.#sessions.get(key)?.backend;
  }

  forget(keys: string[]): void {
    for (const key of keys) this.#delete(key);
  }

  /** Forgets the totals of tenants that are no longer served and have no session. */
  prune(isServed: (tenantId: string) => boolean): void {
    for (const tenantId of this.#carried.keys())
      if ((this.#uses.get(tenantId)?.open ?? 0) === 0 && !isServed(tenantId)) {
        this.#uses.delete(tenantId);
        this.#carried.delete(tenantId);
      }
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
    return [...this.#sessions].map(([key, { owner, backend, connection }]) => {
      const { slot, tenantId } = ownerOf(owner);
      const [address = "", port = "", serverPort = ""] = key.split(" ");
      return openedLine({ slot: String(slot), tenantId, backend, connection, address, port, serverPort });
    });
  }

  #add({ slot, tenantId, backend, connection, address, port, serverPort }: OpenedLine, now: number): void {
    const key = sessionKey(address, port, serverPort);
    this.#delete(key); // its last line was lost, or comes later
    const source = sourceOf(address);
    const owner = `${slot} ${tenantId}`;
    const times = { openedAt: now, seenAt: now };
    this.#sessions.set(key, { owner, source, backend, connection, ...times, isJudged: false });
    this.#touched.add(tenantId);
    const use = this.#uses.get(tenantId) ?? { open: 0, lately: 0, since: 0, sources: new Map() };
    this.#uses.set(tenantId, use);
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
