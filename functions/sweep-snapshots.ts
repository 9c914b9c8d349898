/** The audit's third part: restores objects that manifests name, and deletes objects that were long unreferenced. */
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
    // Reads the content, not only the list: an overwritten object still has its name.
    const whole = await inParallel(referenced, (hash) => getText(bucket, hash));
    for (const [index, text] of whole.entries())
      if (text === undefined) restored += await restore(bucket, referenced[index]!, buckets, settings);
    for (const hash of objectsToDelete(objects, referenced, notes, now)) {
      await deleteObject(bucket, hash);
      deleted++;
    }
  }
  logger.info("snapshots checked", { referenced: referenced.length, restored, deleted });
  return { restored, deleted };
});

/** Hashes that any cell's live commit names, or that its next commit may name. */
async function readReferenced({ fleet, structures }: Settings): Promise<string[]> {
  const cells = await Promise.all(fleet.cells.map(({ name }) => readCell(name)));
  const hashes = cells.flatMap(({ commit, structure }) => [
    ...(commit?.routes ?? []),
    ...(commit === undefined ? [] : [commit.structure.default, ...Object.values(commit.structure.overrides)]),
    ...(structure === undefined ? [] : [structure.state.target, structure.state.from]),
  ]);
  return [...new Set([...hashes, ...Object.values(structures)])].sort();
}

/** Restores an object from a region that still has it, or from the ledger. */
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

/** Renders the bucket with this hash from the ledger again; undefined when its routes have changed since. */
async function renderAgain(hash: string, { fleet }: Settings): Promise<string | undefined> {
  for (const { name } of fleet.cells) {
    const bucket = (await readCell(name)).commit?.routes.indexOf(hash) ?? -1;
    if (bucket < 0) continue;
    const text = renderBucket((await readRoutes(name, bucket)).routes);
    if (sha256(text) === hash) return text;
  }
  return undefined;
}
