import type { Manifest, Route } from "../../schemas/snapshot.ts";
import type { RemovedRoute } from "./gate.ts";
import { everyBucket } from "./render.ts";

/** The buckets to render, in order: those with changes; all of them when nothing was ever committed. */
export const bucketsToRender = (changed: number[], live: { routes: string[] } | undefined): number[] =>
  live === undefined ? everyBucket : [...new Set(changed)].sort((a, b) => a - b);

/** A tenant that changed, and every slot that it may have a route in. */
export interface ChangedTenant {
  tenantId: string;
  slots: number[];
}

/** What the ledger has in some slots: routes, and routes that were removed. */
export interface LedgerRoutes {
  routes: Route[];
  removed: RemovedRoute[];
}

/**
 * Every slot to read for some tenants: those that their marks name, and those that are live. A mark may come late, and know
 * less than was published meanwhile.
 */
export function slotsToRead(live: Route[], changed: ChangedTenant[]): number[] {
  const tenants = new Set(changed.map(({ tenantId }) => tenantId));
  const served = live.filter(({ tenantId }) => tenants.has(tenantId)).map(({ slot }) => slot);
  return [...new Set([...changed.flatMap(({ slots }) => slots), ...served])].sort((a, b) => a - b);
}

/**
 * The live routes of a bucket with those of some tenants as the ledger has them. What did not change is not read again; and
 * a slot that another tenant has by now is that tenant's change, not theirs.
 */
export function withChanges(live: Route[], changed: ChangedTenant[], ledger: LedgerRoutes): LedgerRoutes {
  const tenants = new Set(changed.map(({ tenantId }) => tenantId));
  const kept = live.filter(({ tenantId }) => !tenants.has(tenantId));
  const theirs = ledger.routes.filter(({ tenantId }) => tenants.has(tenantId));
  return { routes: [...kept, ...theirs], removed: ledger.removed };
}

/** The manifest of a commit. */
export const manifestOf = (
  cell: string,
  commit: Pick<Manifest, "generation" | "incarnation" | "routes" | "structure">,
  keyIds: string[],
): Manifest => ({
  cell,
  generation: commit.generation,
  incarnation: commit.incarnation,
  keyIds,
  routes: commit.routes,
  structure: commit.structure,
});

/** What to do with a region's manifest, given the live commit. The same generation has the same routes, or it is another's. */
export function manifestStep(
  stored: Pick<Manifest, "generation" | "incarnation" | "routes"> | undefined,
  commit: Pick<Manifest, "generation" | "incarnation" | "routes">,
): "write" | "current" | "ledger-behind" {
  if (stored === undefined) return "write";
  if (stored.incarnation !== commit.incarnation || stored.generation > commit.generation) return "ledger-behind";
  if (stored.generation < commit.generation) return "write";
  return stored.routes.join() === commit.routes.join() ? "current" : "ledger-behind";
}
