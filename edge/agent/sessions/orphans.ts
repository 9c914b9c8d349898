/**
 * Sessions whose client has gone, but which nginx holds: it takes a reset, or a client that no longer answers, for the end
 * of what the client sends, tells the backend so, and waits for the backend's own end. No directive of nginx ends that
 * wait without cutting sessions that live. So the connections to backends are compared with those of clients. Pure.
 */
import type { Live, Upstream } from "./sockets.ts";

export interface OrphanFacts {
  /** Clients' connections whose sessions lead to this backend, or whose sessions are not known. */
  clients: Live[];
  /** nginx's connections to it. */
  upstreams: Upstream[];
  /** Connections that were suspected before, and since when, by the address and port of nginx's end. */
  suspects: ReadonlyMap<string, number>;
  /** No data for so long. */
  quietMs: number;
  /** Suspected for so long: one look at the kernel's lists is no instant. */
  suspectMs: number;
  now: number;
}

/** What nginx may hold between its two connections: its buffers, what it read ahead, and a PROXY header. */
const heldMax = 68 * 1024 + 2 * 32 * 1024;
const headerMax = 256;

/**
 * Finds out whether a client's connection could be the other end of one of nginx's, by what each of them has seen. In doubt
 * it could: a session is never cut by mistake, and one that stays counts among its tenant's.
 */
function otherEnds(clients: Live[]): (upstream: Upstream) => boolean {
  const inOrder = (numbers: number[]) => Float64Array.from(numbers).sort();
  const halfClosed = clients.filter(({ isHalfClosed }) => isHalfClosed);
  const sent = inOrder(halfClosed.map(({ sent, unsent }) => sent + unsent));
  const read = inOrder(clients.map(({ received, unread }) => received - unread));
  return ({ state, received, written }) =>
    state === "closed"
      ? hasWithin(sent, received - heldMax, received + headerMax)
      : hasWithin(read, written - headerMax, written + heldMax);
}

function hasWithin(inOrder: Float64Array, least: number, most: number): boolean {
  let [from, to] = [0, inOrder.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    if (inOrder[middle]! < least) from = middle + 1;
    else to = middle;
  }
  return from < inOrder.length && inOrder[from]! <= most;
}

/** The connections to end now, and those that are suspected from now on. */
export function planOrphans({ clients, upstreams, suspects, quietMs, suspectMs, now }: OrphanFacts): {
  ended: Upstream[];
  suspects: Map<string, number>;
} {
  const hasClient = otherEnds(clients);
  const alone = upstreams.filter((one) => one.state !== "open" && one.quietMs >= quietMs && !hasClient(one));
  const since = new Map(alone.map(({ local }) => [local, suspects.get(local) ?? now]));
  return { ended: alone.filter(({ local }) => now - since.get(local)! >= suspectMs), suspects: since };
}
