import type { Route } from "../../schemas/snapshot.ts";
import { canonicalJson } from "../canonical.ts";

/** The ledger's note about a slot whose route was removed: its tenant, and the generation that removed it. */
export interface RemovedRoute {
  slot: number;
  tenantId: string;
  generation: number;
}

/** What the gate refuses: changes of single tenants, or all changes of the bucket. */
export interface Refusals {
  tenants: { tenantId: string; reason: string }[];
  bucket: string[];
}

/**
 * Reasons against publishing `next` over `live`. A route may change only if the ledger gave its tenant a greater
 * generation. A route may disappear only if the ledger notes its removal.
 */
export function gateRoutes(live: Route[], next: Route[], removed: RemovedRoute[]): Refusals {
  const before = new Map(live.map((route) => [route.slot, route]));
  const after = new Map(next.map((route) => [route.slot, route]));
  const gone = new Map(removed.map((route) => [route.slot, route]));
  const tenants: Refusals["tenants"] = [];
  const bucket: string[] = [];
  const refuse = (tenantId: string, reason: string) => tenants.push({ tenantId, reason });
  if (after.size !== next.length) bucket.push("two routes share a slot");
  for (const route of next) {
    const { slot, tenantId, generation } = route;
    const old = before.get(slot);
    if (old === undefined || old === route || canonicalJson(old) === canonicalJson(route)) continue;
    if (old.tenantId !== tenantId)
      refuse(tenantId, `slot ${slot} would move from tenant ${old.tenantId} to ${tenantId} in one step`);
    else if (generation <= old.generation)
      refuse(tenantId, `slot ${slot} of ${tenantId} would change without a new generation`);
  }
  for (const { slot, tenantId, generation } of live) {
    if (after.has(slot)) continue;
    const tombstone = gone.get(slot);
    if (tombstone === undefined || tombstone.tenantId !== tenantId || tombstone.generation <= generation)
      refuse(tenantId, `slot ${slot} of ${tenantId} would vanish without a removal in the ledger`);
  }
  return { tenants: tenants.sort((a, b) => (a.reason < b.reason ? -1 : 1)), bucket: bucket.sort() };
}
