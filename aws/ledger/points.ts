/** A point as an item of the ledger. */
import { partsOf } from "../../core/names/claims.ts";
import type { Hold, Point } from "../../core/names/points.ts";
import { keys } from "./keys.ts";

/** The attribute of a claim's hold in the item of its point. */
export function holdName(claim: string, tenantId: string): string {
  const { kind } = partsOf(claim);
  return kind === "below" ? `below ${tenantId}` : kind;
}

/** The point of a ledger item; undefined if the item is another one. */
export function pointIn({ pk, sk, ...item }: Record<string, unknown>): Point | undefined {
  if (sk !== "NAME") return undefined;
  const {
    stamp,
    name,
    wildcard,
    grant,
    tenants: _,
    ...others
  } = item as Pick<Point, "stamp" | "name" | "wildcard" | "grant"> & { tenants?: Set<string> };
  const below = Object.values(others as Record<string, Hold>).map((hold) => [hold.tenantId, hold] as const);
  return {
    point: String(pk).slice("NAME#".length),
    stamp,
    below: new Map(below),
    ...(name === undefined ? {} : { name }),
    ...(wildcard === undefined ? {} : { wildcard }),
    ...(grant === undefined ? {} : { grant }),
  };
}

/** The item of a point, as a whole. `tenants` are those below it: a write can ask for their number only of a set. */
export const pointItem = ({ point, stamp, name, wildcard, below, grant }: Point) => ({
  ...keys.name(point),
  stamp,
  ...(name === undefined ? {} : { name }),
  ...(wildcard === undefined ? {} : { wildcard }),
  ...(grant === undefined ? {} : { grant }),
  ...(below.size === 0 ? {} : { tenants: new Set(below.keys()) }),
  ...Object.fromEntries([...below].map(([tenantId, hold]) => [holdName(`@${point}`, tenantId), hold])),
});
