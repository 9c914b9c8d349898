/** The audit's third part: restores objects that manifests name, and deletes objects that were long unreferenced. */
import { setTimeout as sleep } from "node:timers/promises";
import { readReferences, saveReferences } from "../aws/ledger/audit.ts";
import { readRoutes } from "../aws/ledger/commits.ts";
import { readDirty } from "../aws/ledger/dirty-set.ts";
import { holdLease, type Lease, releaseLease, takeLease } from "../aws/ledger/leases.ts";
import { logger } from "../aws/logger.ts";
import { inParallel } from "../aws/parallel.ts";
import { loadSettings, type Settings } from "../aws/settings.ts";
import { type Bucket, deleteObject, getText, listObjects, putObject } from "../aws/snapshots.ts";
import { isUpToDate, type Origin, type Referenced, readReferenced } from "../control/publishing/references.ts";
import { bucketsOf } from "../control/publishing/regions.ts";
import { objectsToDelete, type References } from "../core/audit/objects.ts";
import { renderBucket } from "../core/publishing/render.ts";
import { auditLimits, publishLimits } from "../schemas/limits.ts";
import { AuditInput } from "../schemas/workflows.ts";
import { handler as shell } from "./shell/handler.ts";

const { referenceEveryMs, deletedAtOnceMax } = auditLimits;
const leasePollMs = 250;

/**
 * `failed` are regions that could not be checked. `cells` are those with work that publishers may have left, because they
 * found the lease taken.
 */
export const handler = shell(AuditInput, async (_, { awsRequestId }) => {
  const settings = await loadSettings();
  if (settings.frozen) return { restored: 0, deleted: 0, failed: [], cells: [] };
  const now = Date.now();
  const { origins, isWhole } = await readReferenced(settings);
  const hashes = [...origins.keys()].sort();
  const notes = await readReferences();
  const latest = Math.max(0, ...notes.map(({ at }) => at));
  const isTime = isWhole && now - latest >= referenceEveryMs;
  if (isTime) await saveReferences({ at: now, hashes });
  const buckets = bucketsOf(settings.fleet);
  let restored = 0;
  let isDue = false;
  const failed: string[] = [];
  for (const bucket of buckets)
    try {
      restored += await restoreMissing(bucket, hashes, origins, buckets);
      if (isTime) isDue ||= objectsToDelete(await listObjects(bucket), hashes, notes, now).length > 0;
    } catch (error) {
      logger.error("region not checked", { bucket: bucket.name, error: error as Error });
      failed.push(bucket.region); // the others are checked nevertheless; the next audit tries again
    }
  const checked = buckets.filter(({ region }) => !failed.includes(region));
  const deleted = isDue ? await deleteUnreferenced(checked, settings, notes, awsRequestId) : 0;
  const cells = isDue ? await cellsWithWork(settings) : [];
  logger.info("snapshots checked", { referenced: hashes.length, isWhole, restored, deleted, failed });
  return { restored, deleted, failed, cells };
});

/** Reads the content of each referenced object: an overwritten one still has its name. */
async function restoreMissing(
  bucket: Bucket,
  hashes: string[],
  origins: Referenced["origins"],
  buckets: Bucket[],
): Promise<number> {
  let restored = 0;
  const texts = await inParallel(hashes, (hash) => getText(bucket, hash));
  for (const [index, text] of texts.entries()) {
    const hash = hashes[index]!;
    if (text === undefined) restored += await restore(bucket, hash, origins.get(hash), buckets);
  }
  return restored;
}

const cellsWithWork = async ({ fleet }: Settings) => {
  const dirty = await inParallel(fleet.cells, async ({ name }) => ((await readDirty(name)).length > 0 ? [name] : []));
  return dirty.flat();
};

/**
 * Deletes what nothing names, and reads that again while it has the publishers' leases: the commit of a publisher that put
 * an object again before that fails.
 */
async function deleteUnreferenced(
  buckets: Bucket[],
  settings: Settings,
  notes: References[],
  holder: string,
): Promise<number> {
  const leases: Lease[] = [];
  const hold = async () => {
    const held = await inParallel(leases, (lease) => holdLease(lease, publishLimits.leaseMs, Date.now()));
    return !held.includes(false);
  };
  let deleted = 0;
  try {
    for (const { name } of settings.fleet.cells) {
      const lease = await takeSoon(`publish#${name}`, `sweep ${holder}`);
      if (lease === undefined) return 0; // publishers are at work without a break: the next hour's audit tries again
      leases.push(lease);
    }
    if (!(await hold())) return 0;
    const referenced = await readReferenced(settings);
    if (!referenced.isWhole) return 0;
    for (const bucket of buckets) {
      if (!(await isUpToDate(bucket, referenced))) continue; // a publisher that is late may still write what it named
      const due = objectsToDelete(await listObjects(bucket), [...referenced.origins.keys()], notes, Date.now());
      for (let from = 0; from < due.length; from += deletedAtOnceMax) {
        if (!(await hold())) return deleted;
        await inParallel(due.slice(from, from + deletedAtOnceMax), (hash) => deleteObject(bucket, hash));
        deleted += Math.min(deletedAtOnceMax, due.length - from);
      }
    }
    return deleted;
  } finally {
    await inParallel(leases, releaseLease);
  }
}

/** A busy publisher gives its lease back for moments only. */
async function takeSoon(name: string, holder: string): Promise<Lease | undefined> {
  for (const until = Date.now() + publishLimits.leaseMs; Date.now() < until; await sleep(leasePollMs)) {
    const lease = await takeLease(name, holder, publishLimits.leaseMs, Date.now());
    if (lease !== undefined) return lease;
  }
  return undefined;
}

/** Restores an object from a region that still has it, or from the ledger. */
async function restore(into: Bucket, hash: string, origin: Origin | undefined, buckets: Bucket[]): Promise<number> {
  const others = buckets.filter((bucket) => bucket !== into);
  const texts = await inParallel(others, (bucket) => getText(bucket, hash).catch(() => undefined));
  const text = texts.find((found) => found !== undefined) ?? (origin && (await renderAgain(hash, origin)));
  if (text === undefined) {
    logger.error("object is missing everywhere", { hash, bucket: into.name });
    return 0;
  }
  await putObject(into, hash, text);
  logger.warn("object restored", { hash, bucket: into.name });
  return 1;
}

/** Renders the object from the ledger again; undefined when its routes have changed since. */
async function renderAgain(hash: string, { cell, bucket }: Origin): Promise<string | undefined> {
  const { objects } = renderBucket((await readRoutes(cell, bucket)).routes);
  return objects.find((object) => object.hash === hash)?.text;
}
