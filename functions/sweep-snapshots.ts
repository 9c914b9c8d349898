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

/** Where a route object comes from: it can be rendered again. Structures have no such place. */
interface Origin {
  cell: string;
  bucket: number;
}

export const handler = shell(AuditInput, async () => {
  const settings = await loadSettings();
  if (settings.frozen) return { restored: 0, deleted: 0 };
  const now = Date.now();
  const { origins, isWhole } = await readReferenced(settings);
  const hashes = [...origins.keys()].sort();
  const notes = await readReferences();
  const latest = Math.max(0, ...notes.map(({ at }) => at));
  if (isWhole && now - latest >= auditLimits.referenceEveryMs) await saveReferences({ at: now, hashes });
  const buckets = bucketsOf(settings.fleet);
  const listed = await Promise.all(buckets.map(async (bucket) => ({ bucket, objects: await listObjects(bucket) })));
  let restored = 0;
  let deleted = 0;
  for (const { bucket, objects } of listed) {
    // Reads the content, not only the list: an overwritten object still has its name.
    const whole = await inParallel(hashes, (hash) => getText(bucket, hash));
    for (const [index, text] of whole.entries()) {
      const hash = hashes[index]!;
      if (text === undefined) restored += await restore(bucket, hash, origins.get(hash), buckets);
    }
    for (const hash of objectsToDelete(objects, isWhole ? hashes : undefined, notes, now)) {
      await deleteObject(bucket, hash);
      deleted++;
    }
  }
  logger.info("snapshots checked", { referenced: hashes.length, isWhole, restored, deleted });
  return { restored, deleted };
});

/** What any cell's live commit names, or its next commit may name. Not whole when a branch can't be read. */
async function readReferenced({ fleet, structures }: Settings) {
  const origins = new Map<string, Origin | undefined>();
  let isWhole = true;
  const read = readFrom(homeFirst(fleet));
  for (const { name: cell } of fleet.cells) {
    const { commit, structure } = await readCell(cell);
    const { default: first, overrides = {} } = commit?.structure ?? {};
    for (const hash of [first, ...Object.values(overrides), structure?.state.target, structure?.state.from])
      if (hash !== undefined) origins.set(hash, undefined);
    await inParallel([...(commit?.routes ?? []).entries()], async ([bucket, root]) => {
      const names = await readNamesBelow(read, root).catch(() => namesAgain(cell, bucket, root));
      if (names === undefined) isWhole = false;
      for (const hash of names ?? [root]) origins.set(hash, { cell, bucket });
    });
  }
  for (const hash of Object.values(structures)) origins.set(hash, undefined);
  return { origins, isWhole };
}

/** The names of a bucket that can't be read, from the ledger; undefined when its routes have changed since. */
async function namesAgain(cell: string, bucket: number, root: string): Promise<string[] | undefined> {
  const { hash, objects } = renderBucket((await readRoutes(cell, bucket)).routes);
  return hash === root ? objects.map((object) => object.hash) : undefined;
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
