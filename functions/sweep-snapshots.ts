/** The audit's third part: every bucket has what manifests name, and nothing that has been of no use for long. */
import { readReferences, saveReferences } from "../aws/ledger/audit.ts";
import { readCell } from "../aws/ledger/cells.ts";
import { loadSettings, type Settings } from "../aws/settings.ts";
import { type Bucket, deleteObject, getText, listObjects, putObject } from "../aws/snapshots.ts";
import { noteEveryMs, objectsToDelete } from "../core/reconcile/objects.ts";
import { AuditInput } from "../schemas/workflows.ts";
import { bucketsOf } from "./shell/buckets.ts";
import { logger, handler as shell } from "./shell/handler.ts";

export const handler = shell(AuditInput, async () => {
  const settings = await loadSettings();
  if (settings.frozen) return { restored: 0, deleted: 0 };
  const now = Date.now();
  const referenced = await readReferenced(settings);
  const notes = await readReferences();
  const latest = Math.max(0, ...notes.map(({ at }) => at));
  if (now - latest >= noteEveryMs) await saveReferences({ at: now, hashes: referenced });
  const buckets = bucketsOf(settings.fleet);
  const listed = await Promise.all(buckets.map(async (bucket) => ({ bucket, objects: await listObjects(bucket) })));
  let restored = 0;
  let deleted = 0;
  for (const { bucket, objects } of listed) {
    const there = new Set(objects.map(({ hash }) => hash));
    for (const hash of referenced) if (!there.has(hash)) restored += await restore(bucket, hash, buckets);
    for (const hash of objectsToDelete(objects, referenced, notes, now)) {
      await deleteObject(bucket, hash);
      deleted++;
    }
  }
  logger.info("snapshots looked at", { referenced: referenced.length, restored, deleted });
  return { restored, deleted };
});

/** What any cell's live commit names, or is about to. */
async function readReferenced({ fleet, structures }: Settings): Promise<string[]> {
  const cells = await Promise.all(fleet.cells.map(({ name }) => readCell(name)));
  const hashes = cells.flatMap(({ commit, structure }) => [
    ...(commit?.routes ?? []),
    ...(commit === undefined ? [] : [commit.structure.default, ...Object.values(commit.structure.overrides)]),
    ...(structure === undefined ? [] : [structure.state.target, structure.state.from]),
  ]);
  return [...new Set([...hashes, ...Object.values(structures)])].sort();
}

/** From whichever region still has it. */
async function restore(into: Bucket, hash: string, buckets: Bucket[]): Promise<number> {
  for (const bucket of buckets) {
    if (bucket === into) continue;
    const text = await getText(bucket, hash);
    if (text === undefined) continue;
    await putObject(into, hash, text);
    logger.warn("object restored", { hash, bucket: into.name, from: bucket.name });
    return 1;
  }
  logger.error("object is missing everywhere", { hash, bucket: into.name });
  return 0;
}
