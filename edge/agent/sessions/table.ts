/** Whose session is whose, and what tenants' sessions carried: from the lines that the router and nginx write. */
import { type Live, sessionKey } from "./sockets.ts";

/** A slot and its tenant; a file's name in the tenant's place when nobody owns the route any more. */
export interface Owner {
  slot: number;
  tenantId: string;
}

export interface Carried {
  opened: number;
  ended: number;
  /** Ended before a backend took it. */
  failed: number;
  /** Bytes from clients and to them, of sessions that ended. */
  received: number;
  sent: number;
}

interface Session {
  owner: string;
  /** Looks at the kernel's list that did not find it. */
  missed: number;
}

export const ownerKey = ({ slot, tenantId }: Owner) => `${slot} ${tenantId}`;
export const ownerOf = (key: string): Owner => {
  const [slot = "", tenantId = ""] = key.split(" ");
  return { slot: Number(slot), tenantId };
};

/** Looks that may miss a session: its last line takes up to a second to be written. */
const missedMost = 2;
const nobodysSlot = -1;

type OwnerOfFile = (file: string) => Owner | undefined;

function* openings(lines: string[], ownerOfFile: OwnerOfFile) {
  for (const line of lines) {
    const [file, backend, address, port, serverPort, more] = line.split(" ");
    if (file === undefined || backend === undefined || serverPort === undefined || more !== undefined) continue;
    const owner = ownerOfFile(file) ?? { slot: nobodysSlot, tenantId: file };
    yield { owner, backend, key: sessionKey(address!, port!, serverPort) };
  }
}

export class SessionTable {
  readonly #sessions = new Map<string, Session>();
  readonly #carried = new Map<string, Carried>();
  openedAt = 0;

  /**
   * The router's lines: `file backend address port serverPort`.
   * @returns the backends that were chosen
   */
  opened(lines: string[], ownerOfFile: OwnerOfFile, now: number): Set<string> {
    const backends = new Set<string>();
    for (const { owner, key, backend } of openings(lines, ownerOfFile)) {
      this.#sessions.set(key, { owner: ownerKey(owner), missed: 0 });
      this.#of(owner.tenantId).opened++;
      this.openedAt = now;
      backends.add(backend);
    }
    return backends;
  }

  /** An earlier run's sessions: from its own lines, and from lines of the router that it may not have read. */
  restore(known: string[], opened: string[], ownerOfFile: OwnerOfFile): void {
    for (const line of known) {
      const [address, port, serverPort, slot, tenantId] = line.split(" ");
      if (tenantId === undefined) continue;
      const owner = ownerKey({ slot: Number(slot), tenantId });
      this.#sessions.set(sessionKey(address!, port!, serverPort!), { owner, missed: 0 });
    }
    for (const { owner, key } of openings(opened, ownerOfFile))
      this.#sessions.set(key, { owner: ownerKey(owner), missed: 0 });
  }

  /** nginx's lines: `address port serverPort status received sent seconds`. */
  ended(lines: string[]): void {
    for (const line of lines) {
      const [address, port, serverPort, status, received, sent, seconds] = line.split(" ");
      if (seconds === undefined) continue;
      const key = sessionKey(address!, port!, serverPort!);
      const session = this.#sessions.get(key);
      if (session === undefined) continue;
      this.#sessions.delete(key);
      const carried = this.#of(ownerOf(session.owner).tenantId);
      carried.ended++;
      if (status === "502") carried.failed++;
      carried.received += Number(received);
      carried.sent += Number(sent);
    }
  }

  /** Forgets sessions that the kernel has not had for a while: their last line was lost. */
  compare(live: Live[]): void {
    const there = new Set(live.map(({ key }) => key));
    for (const [key, session] of this.#sessions) {
      session.missed = there.has(key) ? 0 : session.missed + 1;
      if (session.missed > missedMost) this.#sessions.delete(key);
    }
  }

  /** Forgets what tenants carried who are served no more and have no session. */
  prune(served: Set<string>): void {
    const open = new Set(this.owners().map((owner) => ownerOf(owner).tenantId));
    for (const tenantId of this.#carried.keys())
      if (!open.has(tenantId) && !served.has(tenantId)) this.#carried.delete(tenantId);
  }

  ownerOf(key: string): Owner | undefined {
    const session = this.#sessions.get(key);
    return session === undefined ? undefined : ownerOf(session.owner);
  }

  owners(): string[] {
    return [...new Set([...this.#sessions.values()].map(({ owner }) => owner))];
  }

  keysOf(owner: string): string[] {
    return [...this.#sessions].flatMap(([key, session]) => (session.owner === owner ? [key] : []));
  }

  carried(): [string, Carried][] {
    return [...this.#carried];
  }

  /** What a later run needs to go on: a line for each session. */
  lines(): string[] {
    return [...this.#sessions].map(([key, { owner }]) => `${key} ${owner}`);
  }

  #of(tenantId: string): Carried {
    const known = this.#carried.get(tenantId);
    if (known !== undefined) return known;
    const carried = { opened: 0, ended: 0, failed: 0, received: 0, sent: 0 };
    this.#carried.set(tenantId, carried);
    return carried;
  }
}
