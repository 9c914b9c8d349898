import { snapshotLimits } from "../../schemas/limits.ts";
import type { Route } from "../../schemas/snapshot.ts";
import { canonicalJson } from "../canonical.ts";

/** The ledger's note about a slot whose route was removed: its tenant, and the generation that removed it. */
export interface RemovedRoute {
  slot: number;
  tenantId: string;
  generation: number;
}

/**
 * Reasons against publishing `next` over `live`; empty when it may be published. A route may change only if the ledger
 * gave its tenant a greater generation. A route may disappear only if the ledger notes its removal.
 */
export function gateRoutes(live: Route[], next: Route[], removed: RemovedRoute[]): string[] {
  const before = new Map(live.map((route) => [route.slot, route]));
  const after = new Map(next.map((route) => [route.slot, route]));
  const gone = new Map(removed.map((route) => [route.slot, route]));
  const reasons: string[] = [];
  if (after.size !== next.length) reasons.push("two routes share a slot");
  if (next.length > snapshotLimits.bucketRoutesMax)
    reasons.push(`${next.length} routes in one bucket, at most ${snapshotLimits.bucketRoutesMax} are allowed`);
  for (const route of next) {
    const old = before.get(route.slot);
    if (old === undefined || old === route || canonicalJson(old) === canonicalJson(route)) continue;
    if (old.tenantId !== route.tenantId)
      reasons.push(`slot ${route.slot} would move from tenant ${old.tenantId} to ${route.tenantId} in one step`);
    else if (route.generation <= old.generation)
      reasons.push(`slot ${route.slot} of ${route.tenantId} would change without a new generation`);
  }
  for (const old of live) {
    if (after.has(old.slot)) continue;
    const tombstone = gone.get(old.slot);
    if (tombstone === undefined || tombstone.tenantId !== old.tenantId || tombstone.generation <= old.generation)
      reasons.push(`slot ${old.slot} of ${old.tenantId} would vanish without a removal in the ledger`);
  }
  return reasons.sort();
}
