/** The audit's third part: every bucket has what manifests name, and nothing that has been of no use for long. */
import { readReferences, saveReferences } from "../aws/ledger/audit.ts";
import { readCell } from "../aws/ledger/cells.ts";
import { readRoutes } from "../aws/ledger/commits.ts";
import { logger } from "../aws/logger.ts";
import { inParallel } from "../aws/parallel.ts";
import { loadSettings, type Settings } from "../aws/settings.ts";
import { type Bucket, deleteObject, getText, listObjects, putObject } from "../aws/snapshots.ts";
import { bucketsOf } from "../control/publishing/regions.ts";
import { objectsToDelete } from "../core/audit/objects.ts";
import { renderBucket } from "../core/publishing/render.ts";
import { auditLimits } from "../schemas/limits.ts";
import { sha256 } from "../schemas/signed.ts";
import { AuditInput } from "../schemas/workflows.ts";
import { handler as shell } from "./shell/handler.ts";

export const handler = shell(AuditInput, async () => {
  const settings = await loadSettings();
  if (settings.frozen) return { restored: 0, deleted: 0 };
  const now = Date.now();
  const referenced = await readReferenced(settings);
  const notes = await readReferences();
  const latest = Math.max(0, ...notes.map(({ at }) => at));
  if (now - latest >= auditLimits.referenceEveryMs) await saveReferences({ at: now, hashes: referenced });
  const buckets = bucketsOf(settings.fleet);
  const listed = await Promise.all(buckets.map(async (bucket) => ({ bucket, objects: await listObjects(bucket) })));
  let restored = 0;
  let deleted = 0;
  for (const { bucket, objects } of listed) {
    // Read whole, not only listed: what was overwritten has its name still.
    const whole = await inParallel(referenced, (hash) => getText(bucket, hash));
    for (const [index, text] of whole.entries())
      if (text === undefined) restored += await restore(bucket, referenced[index]!, buckets, settings);
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

/** From whichever region still has it, or from the ledger. */
async function restore(into: Bucket, hash: string, buckets: Bucket[], settings: Settings): Promise<number> {
  const others = buckets.filter((bucket) => bucket !== into);
  const texts = await inParallel(others, (bucket) => getText(bucket, hash).catch(() => undefined));
  const text = texts.find((found) => found !== undefined) ?? (await renderAgain(hash, settings));
  if (text === undefined) {
    logger.error("object is missing everywhere", { hash, bucket: into.name });
    return 0;
  }
  await putObject(into, hash, text);
  logger.warn("object restored", { hash, bucket: into.name });
  return 1;
}

/** What the ledger gives for the bucket that a commit names so, if it still gives the same. */
async function renderAgain(hash: string, { fleet }: Settings): Promise<string | undefined> {
  for (const { name } of fleet.cells) {
    const bucket = (await readCell(name)).commit?.routes.indexOf(hash) ?? -1;
    if (bucket < 0) continue;
    const text = renderBucket((await readRoutes(name, bucket)).routes);
    if (sha256(text) === hash) return text;
  }
  return undefined;
}
