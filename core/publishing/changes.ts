/** Which routes a publication reads, and the routes of a bucket after its changes. */
import type { Route } from "../../schemas/snapshot.ts";
import { everyBucket } from "../routes/buckets.ts";
import type { RemovedRoute } from "./gate.ts";

/** The buckets to render, in order: those with changes; all of them for the first commit. */
export const bucketsToRender = (changed: number[], live: { routes: string[] } | undefined): number[] =>
  live === undefined ? everyBucket : [...new Set(changed)].sort((a, b) => a - b);

/** A tenant that changed, and every slot that may have a route of it. */
export interface ChangedTenant {
  tenantId: string;
  slots: number[];
}

/** Each tenant once, in order, with every slot that one of its marks names. */
export function mergeChanges(changed: ChangedTenant[]): ChangedTenant[] {
  const slots = new Map<string, Set<number>>();
  for (const { tenantId, slots: marked } of changed)
    slots.set(tenantId, new Set([...(slots.get(tenantId) ?? []), ...marked]));
  return [...slots]
    .map(([tenantId, all]) => ({ tenantId, slots: [...all].sort((a, b) => a - b) }))
    .sort((a, b) => (a.tenantId < b.tenantId ? -1 : 1));
}

/** The ledger's content for some slots: current routes and removed routes. */
export interface LedgerRoutes {
  routes: Route[];
  removed: RemovedRoute[];
}

/**
 * Every slot to read for changed tenants: the slots that their marks name, and the slots of their live routes. A late
 * mark may name fewer slots than were published meanwhile.
 */
export function slotsToRead(live: Route[], changed: ChangedTenant[]): number[] {
  const tenants = new Set(changed.map(({ tenantId }) => tenantId));
  const served = live.filter(({ tenantId }) => tenants.has(tenantId)).map(({ slot }) => slot);
  return [...new Set([...changed.flatMap(({ slots }) => slots), ...served])].sort((a, b) => a - b);
}

/**
 * The live routes of a bucket, with the changed tenants' routes replaced by the ledger's. Unchanged tenants are not
 * read again. If another tenant meanwhile has a route in one of the slots, that route belongs to that tenant's own
 * change.
 */
export function withChanges(live: Route[], changed: ChangedTenant[], ledger: LedgerRoutes): LedgerRoutes {
  const tenants = new Set(changed.map(({ tenantId }) => tenantId));
  const kept = live.filter(({ tenantId }) => !tenants.has(tenantId));
  const theirs = ledger.routes.filter(({ tenantId }) => tenants.has(tenantId));
  return { routes: [...kept, ...theirs], removed: ledger.removed };
}
