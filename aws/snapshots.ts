/** Snapshot buckets: one per region, with content-addressed objects and the cell's signed manifest. */
import {
  DeleteObjectCommand,
  GetObjectCommand,
  PutObjectCommand,
  paginateListObjectsV2,
  S3Client,
} from "@aws-sdk/client-s3";
import { clientLimits, snapshotLimits } from "../schemas/limits.ts";
import { openManifest, type PublicKeys, sha256 } from "../schemas/signed.ts";
import { type Manifest, manifestKey, objectKey, type RouteObject, type SignedManifest } from "../schemas/snapshot.ts";

const clients = new Map<string, S3Client>();
const clientOf = (region: string) => {
  const client =
    clients.get(region) ??
    new S3Client({
      region,
      maxAttempts: clientLimits.s3AttemptsMax,
      requestHandler: {
        connectionTimeout: clientLimits.s3ConnectMs,
        requestTimeout: clientLimits.s3RequestMs,
        throwOnRequestTimeout: true,
      },
    });
  clients.set(region, client);
  return client;
};

export interface Bucket {
  region: string;
  name: string;
}

const statusOf = (error: unknown) =>
  (error as { $metadata?: { httpStatusCode?: number } })?.$metadata?.httpStatusCode ?? undefined;

const cacheControl = "no-cache";

/** When this process put each object, by bucket and hash. The sweep keeps an object for much longer than this counts. */
const placed = new Map<string, number>();
export const isPlaced = (bucket: Bucket, hash: string) =>
  Date.now() - (placed.get(`${bucket.name} ${hash}`) ?? 0) < snapshotLimits.placedMs;

export async function putObject(bucket: Bucket, hash: string, text: string): Promise<void> {
  await clientOf(bucket.region).send(
    new PutObjectCommand({ Bucket: bucket.name, Key: objectKey(hash), Body: text, ContentType: "application/json" }),
  );
  if (placed.size >= snapshotLimits.placedObjectsMax) placed.clear();
  placed.set(`${bucket.name} ${hash}`, Date.now());
}

/** Route objects that were used last, by hash: the content of a hash never changes. */
const seen = new Map<string, { object: RouteObject; bytes: number }>();
let seenBytes = 0;

export function rememberObject(hash: string, object: RouteObject, bytes: number): void {
  forget(hash);
  seen.set(hash, { object, bytes });
  seenBytes += bytes;
  for (const oldest of seen.keys()) {
    if (seenBytes <= snapshotLimits.parsedBytesMax) return;
    forget(oldest);
  }
}

function forget(hash: string): void {
  seenBytes -= seen.get(hash)?.bytes ?? 0;
  seen.delete(hash);
}

/** Reads a route object by its hash from the first of `buckets` that has it, and checks its bytes. */
export async function getObject(buckets: Bucket[], hash: string): Promise<RouteObject> {
  const known = seen.get(hash);
  if (known !== undefined) {
    rememberObject(hash, known.object, known.bytes);
    return known.object;
  }
  let text: string | undefined;
  const failures: unknown[] = [];
  for (const bucket of buckets) {
    text = await getText(bucket, hash).catch((error) => void failures.push(error)); // perhaps another region has it
    if (text !== undefined) break;
  }
  if (text === undefined && failures.length > 0) throw failures[0];
  if (text === undefined)
    throw new Error(`object ${hash} is missing or damaged in all of ${buckets.map(({ name }) => name).join(", ")}`);
  const object = JSON.parse(text) as RouteObject; // our own bytes: the hash is from our own commit
  rememberObject(hash, object, text.length);
  return object;
}

/** An object's bytes as text; undefined if it is missing or does not match its hash. */
export async function getText(bucket: Bucket, hash: string): Promise<string | undefined> {
  try {
    const { Body } = await clientOf(bucket.region).send(
      new GetObjectCommand({ Bucket: bucket.name, Key: objectKey(hash) }),
    );
    const text = (await Body?.transformToString()) ?? "";
    return sha256(text) === hash ? text : undefined;
  } catch (error) {
    if (statusOf(error) === 404) return undefined;
    throw error;
  }
}

/** Every object of a bucket, by hash, and when it was put last, milliseconds since 1970. */
export async function listObjects(bucket: Bucket): Promise<{ hash: string; putAt: number }[]> {
  const found: { hash: string; putAt: number }[] = [];
  const input = { Bucket: bucket.name, Prefix: objectKey("") };
  for await (const { Contents = [] } of paginateListObjectsV2({ client: clientOf(bucket.region) }, input))
    for (const { Key = "", LastModified } of Contents)
      found.push({ hash: Key.slice(objectKey("").length), putAt: LastModified?.getTime() ?? 0 });
  return found;
}

export async function deleteObject(bucket: Bucket, hash: string): Promise<void> {
  await clientOf(bucket.region).send(new DeleteObjectCommand({ Bucket: bucket.name, Key: objectKey(hash) }));
}

export interface StoredManifest {
  etag: string;
  /** Absent when the stored manifest is unsigned, damaged, or of another cell. Then it must be overwritten. */
  manifest?: Manifest;
}

export async function getManifest(bucket: Bucket, cell: string, keys: PublicKeys): Promise<StoredManifest | undefined> {
  try {
    const { Body, ETag } = await clientOf(bucket.region).send(
      new GetObjectCommand({ Bucket: bucket.name, Key: manifestKey(cell) }),
    );
    const opened = openManifest((await Body?.transformToString()) ?? "", keys);
    const ours = opened.ok && opened.manifest.cell === cell;
    return ours ? { etag: ETag!, manifest: opened.manifest } : { etag: ETag! };
  } catch (error) {
    if (statusOf(error) === 404) return undefined;
    throw error;
  }
}

/**
 * Writes the manifest only over the one that was read (`stored`), or, if none was found, only if there still is none.
 * @returns the new ETag, or undefined when another writer wrote in between: 412, or S3's 409 for a race
 */
export async function putManifest(
  bucket: Bucket,
  cell: string,
  signed: SignedManifest,
  stored: StoredManifest | undefined,
): Promise<string | undefined> {
  try {
    const { ETag } = await clientOf(bucket.region).send(
      new PutObjectCommand({
        Bucket: bucket.name,
        Key: manifestKey(cell),
        Body: JSON.stringify(signed),
        ContentType: "application/json",
        CacheControl: cacheControl,
        ...(stored === undefined ? { IfNoneMatch: "*" } : { IfMatch: stored.etag }),
      }),
    );
    return ETag;
  } catch (error) {
    if (statusOf(error) === 412 || statusOf(error) === 409) return undefined;
    throw error;
  }
}
