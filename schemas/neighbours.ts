/** Which edges watch which: the same for the edges and for the controller, which must know who would have seen a fault. */
import { sha256 } from "./signed.ts";
import type { EdgePlace } from "./snapshot.ts";

/**
 * The server name that leads to nginx itself, through everything that a user's connection passes but a backend. No tenant can
 * have it: `invalid` is nobody's (RFC 2606).
 */
export const probeName = "landfall-probe.invalid";

type Placed = Pick<EdgePlace, "id" | "region">;

/** Whom an edge watches, in order: all others of its region, and one of each other region. Different edges choose differently. */
export function neighboursOf<P extends Placed>(self: Placed, edges: P[]): P[] {
  const others = edges.filter(({ id }) => id !== self.id);
  const chosen = [...Map.groupBy(others, ({ region }) => region)].flatMap(([region, some]) =>
    region === self.region ? some : [nearest(self, some)],
  );
  return chosen.sort((a, b) => (a.id < b.id ? -1 : 1));
}

function nearest<P extends Placed>(self: Placed, some: P[]): P {
  const ranked = some.map((one) => ({ one, rank: rank(self, one) }));
  return ranked.reduce((best, next) => (next.rank < best.rank ? next : best)).one;
}

const rank = (self: Placed, other: Placed) => Number.parseInt(sha256(`${self.id} ${other.id}`).slice(0, 12), 16);
