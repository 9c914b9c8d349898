/** The audit's third part: restores objects that manifests name, and deletes objects that were long unreferenced. */
import { readReferences, saveReferences } from "../aws/ledger/audit.ts";
import { readCell } from "../aws/ledger/cells.ts";
import { readRoutes } from "../aws/ledger/commits.ts";
import { logger } from "../aws/logger.ts";
import { inParallel } from "../aws/parallel.ts";
import { loadSettings, type Settings } from "../aws/settings.ts";
import { type Bucket, deleteObject, getText, listObjects, putObject } from "../aws/snapshots.ts";
import { bucketsOf, homeFirst } from "../control/publishing/regions.ts";
import { readFrom, readNamesBelow } from "../control/publishing/trees.ts";
import { objectsToDelete } from "../core/audit/objects.ts";
import { renderBucket } from "../core/publishing/render.ts";
import { auditLimits } from "../schemas/limits.ts";
import { AuditInput } from "../schemas/workflows.ts";
import { handler as shell } from "./shell/handler.ts";

/** An object that a manifest names. A route object can be rendered again: it belongs to a bucket of the ledger. */
interface Referenced {
  hash: string;
  from?: { cell: string; bucket: number };
}

export const handler = shell(AuditInput, async () => {
  const settings = await loadSettings();
  if (settings.frozen) return { restored: 0, deleted: 0 };
  const now = Date.now();
  const referenced = await readReferenced(settings);
  const hashes = [...referenced.keys()].sort();
  const notes = await readReferences();
  const latest = Math.max(0, ...notes.map(({ at }) => at));
  if (now - latest >= auditLimits.referenceEveryMs) await saveReferences({ at: now, hashes });
  const buckets = bucketsOf(settings.fleet);
  const listed = await Promise.all(buckets.map(async (bucket) => ({ bucket, objects: await listObjects(bucket) })));
  let restored = 0;
  let deleted = 0;
  for (const { bucket, objects } of listed) {
    // Reads the content, not only the list: an overwritten object still has its name.
    const whole = await inParallel(hashes, (hash) => getText(bucket, hash));
    for (const [index, text] of whole.entries())
      if (text === undefined) restored += await restore(bucket, referenced.get(hashes[index]!)!, buckets);
    for (const hash of objectsToDelete(objects, hashes, notes, now)) {
      await deleteObject(bucket, hash);
      deleted++;
    }
  }
  logger.info("snapshots checked", { referenced: hashes.length, restored, deleted });
  return { restored, deleted };
});

/** What any cell's live commit names, or its next commit may name, by hash. */
async function readReferenced({ fleet, structures }: Settings): Promise<Map<string, Referenced>> {
  const found = new Map<string, Referenced>();
  const add = (hash: string, from?: Referenced["from"]) =>
    found.set(hash, { hash, ...(from === undefined ? {} : { from }) });
  const read = readFrom(homeFirst(fleet));
  for (const { name: cell } of fleet.cells) {
    const { commit, structure } = await readCell(cell);
    for (const hash of Object.values(commit?.structure.overrides ?? {})) add(hash);
    if (commit !== undefined) add(commit.structure.default);
    if (structure !== undefined) for (const hash of [structure.state.target, structure.state.from]) add(hash);
    if (structures[cell] !== undefined) add(structures[cell]);
    const names = await inParallel([...(commit?.routes ?? []).entries()], async ([bucket, first]) => ({
      bucket,
      hashes: await readNamesBelow(read, first).catch(() => namesAgain(cell, bucket, first)),
    }));
    for (const { bucket, hashes } of names) for (const hash of hashes) add(hash, { cell, bucket });
  }
  return found;
}

/** The names of a bucket whose branches are lost: from the ledger, when its routes have not changed since. */
async function namesAgain(cell: string, bucket: number, first: string): Promise<string[]> {
  const { hash, objects } = renderBucket((await readRoutes(cell, bucket)).routes);
  return hash === first ? objects.map((object) => object.hash) : [first];
}

/** Restores an object from a region that still has it, or from the ledger. */
async function restore(into: Bucket, { hash, from }: Referenced, buckets: Bucket[]): Promise<number> {
  const others = buckets.filter((bucket) => bucket !== into);
  const texts = await inParallel(others, (bucket) => getText(bucket, hash).catch(() => undefined));
  const text = texts.find((found) => found !== undefined) ?? (from && (await renderAgain(hash, from)));
  if (text === undefined) {
    logger.error("object is missing everywhere", { hash, bucket: into.name });
    return 0;
  }
  await putObject(into, hash, text);
  logger.warn("object restored", { hash, bucket: into.name });
  return 1;
}

/** Renders the object from the ledger again; undefined when its routes have changed since. */
async function renderAgain(hash: string, { cell, bucket }: { cell: string; bucket: number }) {
  const { objects } = renderBucket((await readRoutes(cell, bucket)).routes);
  return objects.find((object) => object.hash === hash)?.text;
}
