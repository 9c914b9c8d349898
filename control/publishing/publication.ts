/** Reads the facts of one publication, and carries its plan out. `core/publishing/plan.ts` decides in between. */
import { randomUUID } from "node:crypto";
import { type CellState, halt, readCell, saveWithheld } from "../../aws/ledger/cells.ts";
import { commitGeneration, readRoutes, readRoutesOf } from "../../aws/ledger/commits.ts";
import type { DirtyBatch } from "../../aws/ledger/dirty-set.ts";
import { inParallel } from "../../aws/parallel.ts";
import { publicKeys } from "../../aws/signing.ts";
import { getManifest, putObject, rememberObject } from "../../aws/snapshots.ts";
import { assertPublishPlan } from "../../core/assert.ts";
import { canonicalJson } from "../../core/canonical.ts";
import { LedgerBehindError } from "../../core/errors.ts";
import {
  bucketsToRender,
  type ChangedTenant,
  type LedgerRoutes,
  mergeChanges,
  slotsToRead,
  withChanges,
} from "../../core/publishing/changes.ts";
import { type Commit, manifestStep } from "../../core/publishing/commit.ts";
import {
  type BucketFacts,
  type PublishFacts,
  type PublishPlan,
  planPublish,
  type Withheld,
} from "../../core/publishing/plan.ts";
import { structureOf } from "../../core/publishing/structure.ts";
import { bucketOf, digitsOf } from "../../core/routes/buckets.ts";
import type { EdgePlace, Route } from "../../schemas/snapshot.ts";
import { isFailing, keepLease, type Publisher, place } from "./publisher.ts";
import { readTree } from "./trees.ts";

/**
 * Reads the cell, unless the ledger is behind a manifest: the generations of a ledger that was restored from a backup
 * would reach the manifests' generations and then pass them. Manifests are read first: without a restore, a ledger that
 * is read later is never behind them.
 * @throws LedgerBehindError, and halts the cell, when the ledger is behind
 */
export async function readCellUnlessBehind(publisher: Publisher): Promise<CellState> {
  const { cell, stored: known } = publisher;
  const keys = await publicKeys();
  const { copyFailures } = await readCell(cell);
  const buckets = publisher.buckets.filter(({ region }) => !isFailing(region, copyFailures)); // failing ones may hang
  const stored = await Promise.allSettled(buckets.map((bucket) => getManifest(bucket, cell, keys)));
  for (const [index, found] of stored.entries())
    if (found.status === "fulfilled") known.set(buckets[index]!, found.value);
  const state = await readCell(cell);
  if (state.halt !== undefined) throw new LedgerBehindError(state.halt.reason);
  for (const [index, found] of stored.entries()) {
    const manifest = found.status === "fulfilled" ? found.value?.manifest : undefined;
    if (manifest === undefined) continue; // the region is down or new: its copy finds out
    if (state.commit !== undefined && manifestStep(manifest, state.commit) !== "ledger-behind") continue;
    const reason = `${buckets[index]!.name} has generation ${manifest.generation} of cell ${cell}, which the ledger does not have: was it restored from a backup? See \`landfall rebuild\``;
    await halt(cell, reason, Date.now());
    throw new LedgerBehindError(reason);
  }
  return state;
}

/** The buckets of changed tenants: what is live around them, and what the ledger has now. */
export async function readPublishFacts(
  publisher: Publisher,
  { structure }: CellState,
  live: Commit | undefined,
  tenants: ChangedTenant[],
  edges: EdgePlace[],
): Promise<PublishFacts> {
  const { cell, settings } = publisher;
  const changed = Map.groupBy(tenants, ({ tenantId }) => bucketOf(tenantId));
  const buckets = await inParallel(bucketsToRender([...changed.keys()], live), async (bucket): Promise<BucketFacts> => {
    await keepLease(publisher);
    const tenants = changed.get(bucket) ?? [];
    if (live === undefined)
      return {
        bucket,
        changed: tenants,
        live: { routes: [], unread: [], hashes: [] },
        now: await readRoutes(cell, bucket),
      };
    const digits = tenants.map(({ tenantId }) => digitsOf(tenantId));
    const tree = await readTree(publisher.read, live.routes[bucket]!, digits);
    const ledger: LedgerRoutes = await readRoutesOf(cell, bucket, slotsToRead(tree.routes, tenants));
    return { bucket, changed: tenants, live: tree, now: withChanges(tree.routes, tenants, ledger) };
  });
  return {
    live,
    buckets,
    structure: structureFor(structure, live, settings.structures[cell]),
    edges,
    incarnation: randomUUID(),
    now: Date.now(),
  };
}

function structureFor(moving: CellState["structure"], live: Commit | undefined, first: string | undefined) {
  if (moving !== undefined) return structureOf(moving.state);
  if (live !== undefined) return live.structure;
  if (first === undefined) throw new Error("the stage's structures have none for this cell: deploy the stage again");
  return { default: first, overrides: {} };
}

/** Texts of routes that were rendered before: most routes of a bucket do not change. */
const texts = new WeakMap<Route, string>();

function textOf(route: Route): string {
  const text = texts.get(route) ?? canonicalJson(route);
  texts.set(route, text);
  return text;
}

export const decide = (facts: PublishFacts): PublishPlan => planPublish(facts, textOf);

/**
 * The changes to publish now: those of the batches, and those that are withheld. Withheld ones are tried again by each
 * publisher once, and whenever their bucket changes: `isFirst` is a publisher's first plan.
 */
export function changesOf(batches: DirtyBatch[], withheld: Withheld[], isFirst: boolean): ChangedTenant[] {
  const changed = batches.flatMap(({ tenants }) => tenants);
  const touched = new Set(changed.map(({ tenantId }) => bucketOf(tenantId)));
  const again = withheld.filter(({ bucket }) => isFirst || touched.has(bucket));
  return mergeChanges([...changed, ...again.flatMap(({ tenants }) => tenants)]);
}

/**
 * Notes what the plan withholds, before the commit covers its batches. Puts the plan's objects, the home region's before
 * the commit, and commits. Forgets then what is withheld no longer.
 * @returns `lost` when another publisher committed or took the lease, `stale` when a batch was marked again meanwhile
 */
export async function carryOut(
  publisher: Publisher,
  plan: PublishPlan,
  live: Commit | undefined,
  batches: DirtyBatch[],
  { before, after }: { before: Withheld[]; after: Withheld[] },
): Promise<"committed" | "lost" | "stale"> {
  const { cell, buckets, home, lease } = publisher;
  assertPublishPlan(plan, live);
  const noted = new Map(before.map((withheld) => [withheld.bucket, canonicalJson(withheld)]));
  for (const withheld of after)
    if (noted.get(withheld.bucket) !== canonicalJson(withheld))
      await saveWithheld(cell, withheld.bucket, withheld, lease);
  const objects = plan.buckets.flatMap((bucket) => bucket.objects);
  for (const target of buckets) if (target !== home) place(publisher, target, objects);
  await inParallel(objects, async ({ hash, text, object }) => {
    await putObject(home, hash, text);
    rememberObject(hash, object, text.length);
    await keepLease(publisher);
  });
  const outcome = await commitGeneration(cell, live, plan.commit, batches, lease);
  if (outcome !== "committed") return outcome;
  const kept = new Set(after.map(({ bucket }) => bucket));
  for (const { bucket } of before) if (!kept.has(bucket)) await saveWithheld(cell, bucket, undefined, lease);
  return outcome;
}
