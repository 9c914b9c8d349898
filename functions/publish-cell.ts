/** The publisher of a cell: drains its dirty set into commits, and copies each commit to every region. */
import { randomUUID } from "node:crypto";
import {
  type Commit,
  commitGeneration,
  type DirtyBatch,
  readCommit,
  readDirty,
  readRoutes,
} from "../aws/ledger/commits.ts";
import { type Lease, releaseLease, takeLease } from "../aws/ledger/leases.ts";
import { loadSettings, type Settings } from "../aws/settings.ts";
import { publicKeys, signingKeyId, signManifest } from "../aws/signing.ts";
import {
  type Bucket,
  getManifest,
  getRoutes,
  isPlaced,
  putManifest,
  putObject,
  rememberRoutes,
} from "../aws/snapshots.ts";
import { GateRefusedError, LeaseHeldError, LedgerBehindError } from "../core/errors.ts";
import { gateRoutes } from "../core/publishing/gate.ts";
import { bucketsToRender, manifestOf, manifestStep } from "../core/publishing/plan.ts";
import { renderBucket, renderManifest } from "../core/publishing/render.ts";
import { sha256 } from "../schemas/signed.ts";
import type { RouteBucket } from "../schemas/snapshot.ts";
import { PublishInput } from "../schemas/workflows.ts";
import { evaluateWaits } from "./shell/acks.ts";
import { logger, handler as shell } from "./shell/handler.ts";

/** Longer than the function may run (60 s, infra/functions.ts): a publisher that lives never loses its lease. */
const leaseMs = 70_000;
/** Nothing is begun with less time left: one commit and its copies take a fraction of it. */
const commitMs = 20_000;
/** A bucket object larger than this is a fault of the generator, not a snapshot. */
const bucketBytesMost = 4 * 1024 * 1024;

/**
 * Answers `published` with the generation, or `delegated` when another publisher has the lease: that one looks at the
 * dirty set again after it let go, so the work is not forgotten. `more` when its time is nearly up and there is work left: it is to be called again. `frozen` leaves the work for reconcile.
 */
export const handler = shell(PublishInput, async ({ cell }, { awsRequestId, getRemainingTimeInMillis }) => {
  const settings = await loadSettings();
  if (settings.frozen) return { cell, state: "frozen" as const };
  const buckets = bucketsOf(settings);
  const hasTime = () => getRemainingTimeInMillis() > commitMs;
  let generation: number | undefined;
  for (let drained = false; !drained; ) {
    if (!hasTime()) return { cell, state: "more" as const };
    const lease = await takeLease(`publish#${cell}`, awsRequestId, leaseMs, Date.now());
    if (lease === undefined) return { cell, state: "delegated" as const };
    try {
      generation = await drain(cell, settings, buckets, lease, hasTime);
    } finally {
      await releaseLease(lease);
    }
    await evaluateWaits(cell, Date.now()); // a batch that the live commit covers brings no new ack
    drained = (await readDirty(cell)).length === 0;
  }
  return { cell, state: "published" as const, generation };
});

const bucketsOf = ({ fleet }: Settings): Bucket[] =>
  Object.entries(fleet.buckets)
    .map(([region, name]) => ({ region, name }))
    .sort((a, b) => (a.region < b.region ? -1 : 1));

/** Commits until the dirty set is empty; then sees to it that every region has the live commit. */
async function drain(
  cell: string,
  settings: Settings,
  buckets: Bucket[],
  lease: Lease,
  hasTime: () => boolean,
): Promise<number> {
  let live = await readCommit(cell);
  await refuseIfBehind(cell, homeOf(settings, buckets), live);
  for (let batches = await readDirty(cell); batches.length > 0 || live === undefined; batches = await readDirty(cell)) {
    if (live !== undefined && !hasTime()) break;
    const next = await render(cell, live, batches, settings, buckets);
    if (!(await commitGeneration(cell, live, next, batches, lease)))
      throw new LeaseHeldError(`another publisher took cell ${cell} over`);
    if (next !== live) logger.info("committed", { cell, generation: next.generation, batches: batches.length });
    live = next;
    await copyToRegions(cell, settings, buckets);
  }
  await copyToRegions(cell, settings, buckets);
  return live.generation;
}

const homeOf = ({ fleet }: Settings, buckets: Bucket[]) => buckets.find(({ region }) => region === fleet.homeRegion)!;

/** Before anything is committed: a ledger restored from a backup would count up to the manifests and then pass them. */
async function refuseIfBehind(cell: string, home: Bucket, live: Commit | undefined): Promise<void> {
  const stored = await getManifest(home, cell, await publicKeys());
  if (stored?.manifest === undefined) return;
  if (live === undefined || manifestStep(stored.manifest, live) === "ledger-behind")
    throw new LedgerBehindError(
      `${home.name} has generation ${stored.manifest.generation} of cell ${cell}, which the ledger does not know: restored from a backup?`,
    );
}

/** The commit after `live`, its objects already in every bucket; `live` itself when nothing changed. */
async function render(
  cell: string,
  live: Commit | undefined,
  batches: DirtyBatch[],
  settings: Settings,
  buckets: Bucket[],
): Promise<Commit> {
  const home = homeOf(settings, buckets);
  const touched = bucketsToRender(
    batches.flatMap(({ tenantIds }) => tenantIds),
    live,
  );
  const routes = live?.routes.slice() ?? [];
  await Promise.all(
    touched.map(async (bucket) => {
      const { routes: next, removed } = await readRoutes(cell, bucket);
      const text = renderBucket(next);
      const hash = sha256(text);
      if (hash === live?.routes[bucket]) return;
      const before: RouteBucket = live === undefined ? { routes: [] } : await getRoutes(home, live.routes[bucket]!);
      const refused = gateRoutes(before.routes, next, removed);
      if (text.length > bucketBytesMost) refused.push(`bucket ${bucket} has ${text.length} bytes`);
      if (refused.length > 0) throw new GateRefusedError(refused.join("; "));
      await putObject(home, hash, text);
      // The others may fail: what they lack is put before their manifest is.
      await Promise.allSettled(buckets.filter((each) => each !== home).map((target) => putObject(target, hash, text)));
      rememberRoutes(hash, { routes: next });
      routes[bucket] = hash;
    }),
  );
  if (live !== undefined && routes.every((hash, bucket) => hash === live.routes[bucket])) return live;
  return {
    generation: (live?.generation ?? 0) + 1,
    incarnation: live?.incarnation ?? randomUUID(),
    routes,
    structure: live?.structure ?? { default: settings.structure, overrides: {} },
    committedAt: Date.now(),
  };
}

/** Every region on its own: one that fails is named at the end, and none waits for it. */
async function copyToRegions(cell: string, settings: Settings, buckets: Bucket[]): Promise<void> {
  const home = homeOf(settings, buckets);
  const copies = await Promise.allSettled(buckets.map((bucket) => copyToRegion(cell, bucket, home)));
  const failed = copies.flatMap((copy, index) =>
    copy.status === "rejected" ? [{ copy, bucket: buckets[index]! }] : [],
  );
  const behind = failed.find(({ copy }) => copy.reason instanceof LedgerBehindError);
  if (behind !== undefined) throw behind.copy.reason;
  for (const { copy, bucket } of failed)
    logger.error("manifest not written", { cell, region: bucket.region, error: copy.reason as Error });
  if (failed.length === buckets.length) throw failed[0]!.copy.reason;
}

/** Reads the region's ETag before the ledger, so that what is written is never older than what was there. */
async function copyToRegion(cell: string, bucket: Bucket, home: Bucket): Promise<void> {
  for (let attempt = 0; attempt < 2; attempt++) {
    const stored = await getManifest(bucket, cell, await publicKeys());
    const commit = await readCommit(cell);
    if (commit === undefined) return;
    const step = manifestStep(stored?.manifest, commit);
    if (step === "current") return;
    if (step === "ledger-behind")
      throw new LedgerBehindError(
        `${bucket.name} has generation ${stored?.manifest?.generation} of cell ${cell}, the ledger only ${commit.generation}: restored from a backup?`,
      );
    const missing = commit.routes.filter((hash) => !isPlaced(bucket, hash) && !stored?.manifest?.routes.includes(hash));
    for (const hash of new Set(missing))
      await putObject(bucket, hash, renderBucket((await getRoutes(home, hash)).routes));
    const signed = await signManifest(renderManifest(manifestOf(cell, commit, [signingKeyId])));
    if (await putManifest(bucket, cell, signed, stored)) return;
  }
  throw new Error(`the manifest in ${bucket.name} was written by others twice in a row`);
}
