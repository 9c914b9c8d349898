import type { Manifest } from "../../schemas/snapshot.ts";
import { bucketOf } from "../admission/routes.ts";
import { everyBucket } from "./render.ts";

/** The buckets to render for these tenants, in order; all of them when nothing was ever committed. */
export function bucketsToRender(tenantIds: string[], live: { routes: string[] } | undefined): number[] {
  if (live === undefined) return everyBucket;
  return [...new Set(tenantIds.map(bucketOf))].sort((a, b) => a - b);
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
