/** The audit's third part: restores objects that manifests name, and deletes objects that were long unreferenced. */
import { readReferences, saveReferences } from "../aws/ledger/audit.ts";
import { readRoutes } from "../aws/ledger/commits.ts";
import { readDirty } from "../aws/ledger/dirty-set.ts";
import { holdLease, type Lease, releaseLease, takeLease } from "../aws/ledger/leases.ts";
import { logger } from "../aws/logger.ts";
import { inParallel } from "../aws/parallel.ts";
import { loadSettings, type Settings } from "../aws/settings.ts";
import { type Bucket, deleteObject, getText, listObjects, putObject } from "../aws/snapshots.ts";
import { type Origin, readNamedIn, readReferenced } from "../control/publishing/references.ts";
import { bucketsOf } from "../control/publishing/regions.ts";
import { objectsToDelete, type References } from "../core/audit/objects.ts";
import { renderBucket } from "../core/publishing/render.ts";
import { auditLimits, publishLimits } from "../schemas/limits.ts";
import { AuditInput } from "../schemas/workflows.ts";
import { handler as shell } from "./shell/handler.ts";

const { referenceEveryMs, deletedAtOnceMax } = auditLimits;

/** `cells` are those with work that publishers may have left, because they found the lease taken. */
export const handler = shell(AuditInput, async (_, { awsRequestId }) => {
  const settings = await loadSettings();
  if (settings.frozen) return { restored: 0, deleted: 0, cells: [] };
  const now = Date.now();
  const { origins, isWhole } = await readReferenced(settings);
  const hashes = [...origins.keys()].sort();
  const notes = await readReferences();
  const latest = Math.max(0, ...notes.map(({ at }) => at));
  const isTime = isWhole && now - latest >= referenceEveryMs;
  if (isTime) await saveReferences({ at: now, hashes });
  const buckets = bucketsOf(settings.fleet);
  let restored = 0;
  for (const bucket of buckets) {
    // Reads the content: an overwritten object still has its name.
    const whole = await inParallel(hashes, (hash) => getText(bucket, hash));
    for (const [index, text] of whole.entries()) {
      const hash = hashes[index]!;
      if (text === undefined) restored += await restore(bucket, hash, origins.get(hash), buckets);
    }
  }
  const isDue = async (bucket: Bucket) => objectsToDelete(await listObjects(bucket), hashes, notes, now).length > 0;
  const due = isTime ? (await inParallel(buckets, isDue)).includes(true) : false;
  const deleted = due ? await deleteUnreferenced(settings, notes, awsRequestId) : 0;
  const cells = due ? await cellsWithWork(settings) : [];
  logger.info("snapshots checked", { referenced: hashes.length, isWhole, restored, deleted });
  return { restored, deleted, cells };
});

const cellsWithWork = async ({ fleet }: Settings) => {
  const dirty = await inParallel(fleet.cells, async ({ name }) => ((await readDirty(name)).length > 0 ? [name] : []));
  return dirty.flat();
};

/**
 * Deletes what nothing names, and reads that again while it has the publishers' leases: the commit of a publisher that put an
 * object again before that fails.
 */
async function deleteUnreferenced(settings: Settings, notes: References[], holder: string): Promise<number> {
  const leases: Lease[] = [];
  const hold = async () => {
    const held = await inParallel(leases, (lease) => holdLease(lease, publishLimits.leaseMs, Date.now()));
    return !held.includes(false);
  };
  let deleted = 0;
  try {
    for (const { name } of settings.fleet.cells) {
      const lease = await takeLease(`publish#${name}`, `sweep ${holder}`, publishLimits.leaseMs, Date.now());
      if (lease === undefined) return 0; // a publisher is at work: the next audit tries again
      leases.push(lease);
    }
    const { origins, isWhole } = await readReferenced(settings);
    if (!isWhole) return 0;
    for (const bucket of bucketsOf(settings.fleet)) {
      const named = [...origins.keys(), ...(await readNamedIn(bucket, settings))];
      const due = objectsToDelete(await listObjects(bucket), named, notes, Date.now());
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
