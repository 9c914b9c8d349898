/** Copies the live commit to the regions: one signed manifest per region, each independent of the others. */
import { type CopyFailure, clearCopyFailure, halt, noteCopyFailure } from "../../aws/ledger/cells.ts";
import { readCommit } from "../../aws/ledger/commits.ts";
import { logger } from "../../aws/logger.ts";
import { inParallel } from "../../aws/parallel.ts";
import { publicKeys, signingKeyId, signManifest } from "../../aws/signing.ts";
import {
  type Bucket,
  getManifest,
  isPlaced,
  putManifest,
  putObject,
  type StoredManifest,
} from "../../aws/snapshots.ts";
import { LedgerBehindError } from "../../core/errors.ts";
import { type Commit, manifestOf, manifestStep } from "../../core/publishing/commit.ts";
import { renderManifest, renderObject } from "../../core/publishing/render.ts";
import { publishLimits } from "../../schemas/limits.ts";
import type { Publisher } from "./publisher.ts";
import { type ReadObject, readNamesBelow } from "./trees.ts";

/** Copies to each region independently. A failing region is noted for the status. */
export async function copyToRegions(
  publisher: Publisher,
  commit: Commit,
  known: CopyFailure[],
  wanted: (region: string) => boolean,
): Promise<void> {
  const { cell } = publisher;
  const buckets = publisher.buckets.filter(({ region }) => wanted(region));
  const copies = await Promise.allSettled(buckets.map((bucket) => copyToRegion(publisher, bucket, commit)));
  const failures = copies.map((copy) => (copy.status === "rejected" ? (copy.reason as Error) : undefined));
  const behind = failures.find((failure) => failure instanceof LedgerBehindError);
  if (behind !== undefined) {
    await halt(cell, behind.message, Date.now());
    throw behind;
  }
  for (const [index, { region }] of buckets.entries()) await noteCopy(cell, region, failures[index], known);
  if (failures.length > 0 && failures.every((failure) => failure !== undefined)) throw failures[0]!;
}

/** The ledger has one item for each failing region, and none for the others. `known` has the ledger's items. */
async function noteCopy(cell: string, region: string, failure: Error | undefined, known: CopyFailure[]): Promise<void> {
  const at = known.findIndex((noted) => noted.region === region);
  if (failure === undefined) {
    if (at >= 0) await clearCopyFailure(cell, region);
    if (at >= 0) known.splice(at, 1);
    return;
  }
  logger.error("manifest not written", { cell, region, error: failure });
  if (at >= 0) return;
  const noted = { region, reason: String(failure).slice(0, publishLimits.failureCharactersMax), at: Date.now() };
  await noteCopyFailure(cell, noted);
  known.push(noted);
}

/**
 * Replaces the known manifest of the region. If that fails, or if the known one is newer than `commit` because another
 * publisher has committed since, reads the region's manifest first and the ledger's commit second: then the written
 * manifest is never older than the replaced one, and only a ledger that was restored is behind a manifest.
 */
async function copyToRegion(publisher: Publisher, bucket: Bucket, commit: Commit): Promise<void> {
  const { cell, placing, stored } = publisher;
  await Promise.all(placing.get(bucket) ?? []);
  placing.delete(bucket);
  const isNewer = manifestStep(stored.get(bucket)?.manifest, commit) === "ledger-behind";
  if (stored.has(bucket) && !isNewer && (await writeManifest(publisher, bucket, stored.get(bucket), commit))) return;
  const there = await getManifest(bucket, cell, await publicKeys());
  const latest = await readCommit(cell);
  if (latest === undefined || (await writeManifest(publisher, bucket, there, latest))) return;
  throw new Error(`the manifest in ${bucket.name} was replaced by another writer twice in a row`);
}

/** The objects of changed buckets that this process has not put, and that the region's manifest does not name. */
async function missingIn(bucket: Bucket, there: string[], wanted: string[], read: ReadObject): Promise<string[]> {
  const changed = wanted.flatMap((hash, index) => (hash === there[index] ? [] : [{ hash, old: there[index] }]));
  const missing = await inParallel(changed, async ({ hash, old }) => {
    const names = (await readNamesBelow(read, hash)).filter((name) => !isPlaced(bucket, name));
    if (names.length === 0 || old === undefined) return names;
    const held = await readNamesBelow(read, old).catch(() => [old]); // it may be gone: then all are put again
    return names.filter((name) => !held.includes(name));
  });
  return [...new Set(missing.flat())];
}

/** @returns false when another writer replaced `there` meanwhile */
async function writeManifest(
  publisher: Publisher,
  bucket: Bucket,
  there: StoredManifest | undefined,
  commit: Commit,
): Promise<boolean> {
  const { cell, stored, signed, read } = publisher;
  const step = manifestStep(there?.manifest, commit);
  if (step === "current") return true;
  if (step === "ledger-behind")
    throw new LedgerBehindError(
      `${bucket.name} has generation ${there?.manifest?.generation} of cell ${cell}, the ledger only ${commit.generation}: was it restored from a backup?`,
    );
  stored.delete(bucket);
  const missing = await missingIn(bucket, there?.manifest?.routes ?? [], commit.routes, read);
  await inParallel(missing, async (hash) => putObject(bucket, hash, renderObject(await read(hash))));
  const manifest = manifestOf(cell, commit, [signingKeyId]);
  const signing = signed.get(commit.generation) ?? signManifest(renderManifest(manifest));
  signed.set(commit.generation, signing);
  const etag = await putManifest(bucket, cell, await signing, there);
  if (etag !== undefined) stored.set(bucket, { etag, manifest });
  return etag !== undefined;
}
