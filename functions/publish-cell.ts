/** The publisher of a cell: drains its dirty set into commits, and copies each commit to every region. */
import { randomUUID } from "node:crypto";
import type { DirtyBatch } from "../aws/ledger/batches.ts";
import { type CellState, type CopyFailure, clearTrouble, halt, noteTrouble, readCell } from "../aws/ledger/cells.ts";
import { type Commit, commitGeneration, readDirty, readRoutes, readRoutesOf } from "../aws/ledger/commits.ts";
import { holdLease, releaseLease, takeLease } from "../aws/ledger/leases.ts";
import { loadSettings } from "../aws/settings.ts";
import { publicKeys } from "../aws/signing.ts";
import { getManifest, getRoutes, putObject, rememberRoutes } from "../aws/snapshots.ts";
import { bucketOf } from "../core/admission/routes.ts";
import { canonicalJson } from "../core/canonical.ts";
import { GateRefusedError, LeaseHeldError, LedgerBehindError } from "../core/errors.ts";
import { bucketBytesMost, gateRoutes } from "../core/publishing/gate.ts";
import {
  bucketsToRender,
  type ChangedTenant,
  type LedgerRoutes,
  manifestStep,
  slotsToRead,
  withChanges,
} from "../core/publishing/plan.ts";
import { renderBucket } from "../core/publishing/render.ts";
import { structureOf } from "../core/publishing/structure.ts";
import { sha256 } from "../schemas/signed.ts";
import type { Route, RouteBucket } from "../schemas/snapshot.ts";
import { PublishInput } from "../schemas/workflows.ts";
import { evaluateWaits } from "./shell/acks.ts";
import { bucketsOf, homeOf } from "./shell/buckets.ts";
import { copyToRegions, isFailing, type Publisher, place } from "./shell/copies.ts";
import { logger, handler as shell } from "./shell/handler.ts";

/**
 * How long a publisher that died holds up the next. One that only stalled loses its lease, and with it its commit: every
 * commit is conditional on the lease's epoch, so that this may be short.
 */
const leaseMs = 15_000;
/** Nothing is begun with less time left: one commit and its copies take a fraction of it. */
const commitMs = 20_000;

/**
 * Answers `published` with the generation, or `delegated` when another publisher has the lease: that one looks at the
 * dirty set again after it let go, so the work is not forgotten. `more` when its time is nearly up and there is work
 * left: it is to be called again. `frozen` leaves the work for reconcile.
 */
export const handler = shell(PublishInput, async ({ cell }, { awsRequestId, getRemainingTimeInMillis }) => {
  const settings = await loadSettings();
  if (settings.frozen) return { cell, state: "frozen" as const };
  const buckets = bucketsOf(settings.fleet);
  const home = homeOf(settings.fleet, buckets);
  const hasTime = () => getRemainingTimeInMillis() > commitMs;
  let drained: Drained | undefined;
  for (let isEmpty = false; !isEmpty; ) {
    if (!hasTime()) return { cell, state: "more" as const };
    const lease = await takeLease(`publish#${cell}`, awsRequestId, leaseMs, Date.now());
    if (lease === undefined) return { cell, state: "delegated" as const };
    const [placing, stored, signed] = [new Map(), new Map(), new Map()];
    const publisher: Publisher = { cell, settings, buckets, home, lease, hasTime, placing, stored, signed };
    try {
      drained = await drain(publisher);
    } catch (error) {
      if (!(error instanceof LeaseHeldError)) await noteTrouble(cell, String(error).slice(0, 500), Date.now());
      throw error;
    } finally {
      await releaseLease(lease);
    }
    // A region that fails is tried by those who have nothing else to do, and with nobody waiting for the lease.
    if (drained.commits === 0) await copyToRegions(publisher, drained.live, drained.failing, () => true);
    await evaluateWaits(cell, Date.now()); // a batch that the live commit covers brings no new ack
    isEmpty = (await readDirty(cell)).length === 0;
  }
  return { cell, state: "published" as const, generation: drained?.live.generation };
});

interface Drained {
  live: Commit;
  commits: number;
  /** Regions without the live commit. */
  failing: CopyFailure[];
}

/** Commits until the dirty set is empty, and copies each commit to the regions that do not fail. */
async function drain(publisher: Publisher): Promise<Drained> {
  const { cell, lease, hasTime } = publisher;
  const state = await readUnlessBehind(publisher);
  const { copyFailures: failing } = state;
  const isWell = (region: string) => !isFailing(region, failing);
  let live = state.commit;
  let commits = 0;
  for (let batches = await readDirty(cell); needsCommit(state, live, batches); batches = await readDirty(cell)) {
    if (live !== undefined && !hasTime()) break;
    if (!(await holdLease(lease, leaseMs, Date.now())))
      throw new LeaseHeldError(`lost the publisher's lease of ${cell}`);
    const next = await render(publisher, state, live, batches);
    const outcome = await commitGeneration(cell, live, next, batches, lease);
    if (outcome === "lost") throw new LeaseHeldError(`another publisher took cell ${cell} over`);
    if (outcome === "stale") continue; // what was marked again is rendered again
    if (next !== live) logger.info("committed", { cell, generation: next.generation, batches: batches.length });
    live = next;
    commits++;
    await copyToRegions(publisher, live, failing, isWell);
  }
  await copyToRegions(publisher, live!, failing, isWell);
  if (state.trouble !== undefined) await clearTrouble(cell);
  return { live: live!, commits, failing };
}

/** There is work, or nothing was ever published, or the structure moves on. */
const needsCommit = ({ structure }: CellState, live: Commit | undefined, batches: DirtyBatch[]) =>
  batches.length > 0 ||
  live === undefined ||
  (structure !== undefined && !sameStructure(structureOf(structure.state), live.structure));

const sameStructure = (a: Commit["structure"], b: Commit["structure"]) => canonicalJson(a) === canonicalJson(b);

/**
 * The cell as the ledger has it, unless the ledger is behind a manifest: restored from a backup, it would count up to the
 * manifests and then pass them. Manifests are read first, because none is ahead of a ledger that is read after it.
 */
async function readUnlessBehind({ cell, stored: known, ...publisher }: Publisher): Promise<CellState> {
  const keys = await publicKeys();
  const { copyFailures } = await readCell(cell);
  const buckets = publisher.buckets.filter(({ region }) => !isFailing(region, copyFailures)); // they may hang
  const stored = await Promise.allSettled(buckets.map((bucket) => getManifest(bucket, cell, keys)));
  for (const [index, found] of stored.entries())
    if (found.status === "fulfilled") known.set(buckets[index]!, found.value);
  const state = await readCell(cell);
  if (state.halt !== undefined) throw new LedgerBehindError(state.halt.reason);
  for (const [index, found] of stored.entries()) {
    const manifest = found.status === "fulfilled" ? found.value?.manifest : undefined;
    if (manifest === undefined) continue; // a region that is out, or new: its copy tells
    if (state.commit !== undefined && manifestStep(manifest, state.commit) !== "ledger-behind") continue;
    const reason = `${buckets[index]!.name} has generation ${manifest.generation} of cell ${cell}, which the ledger does not know: was it restored from a backup? See \`landfall rebuild\``;
    await halt(cell, reason, Date.now());
    throw new LedgerBehindError(reason);
  }
  return state;
}

/** The commit after `live`, its objects already in every bucket; `live` itself when nothing changed. */
async function render(
  { cell, settings, buckets, home, placing }: Publisher,
  { structure: moving }: CellState,
  live: Commit | undefined,
  batches: DirtyBatch[],
): Promise<Commit> {
  const changed = Map.groupBy(
    batches.flatMap((batch) => batch.tenants),
    ({ tenantId }) => bucketOf(tenantId),
  );
  const routes = live?.routes.slice() ?? [];
  const sizes = live?.sizes?.slice() ?? [];
  await Promise.all(
    bucketsToRender([...changed.keys()], live).map(async (bucket) => {
      const before: RouteBucket =
        live === undefined ? { routes: [] } : await getRoutes([home, ...buckets], live.routes[bucket]!);
      const { routes: next, removed } =
        live === undefined
          ? await readRoutes(cell, bucket)
          : await withLedger(cell, bucket, before.routes, changed.get(bucket)!);
      const text = renderBucket(next);
      const hash = sha256(text);
      if (hash === live?.routes[bucket]) return;
      const refused = gateRoutes(before.routes, next, removed);
      const bytes = Buffer.byteLength(text);
      if (bytes > bucketBytesMost) refused.push(`${bytes} bytes, at most ${bucketBytesMost}`);
      if (refused.length > 0) throw new GateRefusedError(`bucket ${bucket} of ${cell}: ${refused.join("; ")}`);
      await putObject(home, hash, text);
      for (const target of buckets) if (target !== home) place(placing, target, hash, text);
      rememberRoutes(hash, { routes: next });
      routes[bucket] = hash;
      sizes[bucket] = bytes;
    }),
  );
  const structure = structureFor(moving, live, settings.structures[cell]);
  const same = live !== undefined && routes.every((hash, bucket) => hash === live.routes[bucket]);
  if (same && sameStructure(structure, live.structure)) return live;
  return {
    generation: (live?.generation ?? 0) + 1,
    incarnation: live?.incarnation ?? randomUUID(),
    routes,
    structure,
    sizes,
    committedAt: Date.now(),
  };
}

async function withLedger(
  cell: string,
  bucket: number,
  live: Route[],
  changed: ChangedTenant[],
): Promise<LedgerRoutes> {
  return withChanges(live, changed, await readRoutesOf(cell, bucket, slotsToRead(live, changed)));
}

function structureFor(moving: CellState["structure"], live: Commit | undefined, first: string | undefined) {
  if (moving !== undefined) return structureOf(moving.state);
  if (live !== undefined) return live.structure;
  if (first === undefined) throw new Error("the stage's structures name none for this cell: deploy the stage again");
  return { default: first, overrides: {} };
}
