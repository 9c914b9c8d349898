/** Reads the trees of route buckets: in part, as a whole, or only the names of their objects. */

import { limitFunction } from "p-limit";
import { type Bucket, getObject } from "../../aws/snapshots.ts";
import type { ReadTree } from "../../core/publishing/plan.ts";
import { bytesIn, type UnreadPart } from "../../core/publishing/render.ts";
import { clientLimits, snapshotLimits } from "../../schemas/limits.ts";
import type { Route, RouteObject, RoutePart } from "../../schemas/snapshot.ts";

/** Reads an object by its hash. */
export type ReadObject = (hash: string) => Promise<RouteObject>;

/**
 * From the first of these buckets that has it, a few objects at a time: a tree asks for hundreds at once, and calls that wait in
 * a queue of their own would run out of time there.
 */
export const readFrom = (buckets: Bucket[]): ReadObject =>
  limitFunction((hash: string) => getObject(buckets, hash), { concurrency: clientLimits.parallelCallsMax });

/**
 * The leaves of these tenants, given by their digits. Where the other parts of a branch together fit into one leaf, they
 * are read as well: a smaller route can make the branch a leaf.
 */
export async function readTree(read: ReadObject, first: string, tenants: string[]): Promise<ReadTree> {
  const tree: Omit<ReadTree, "unread"> = { routes: [], hashes: [] };
  async function visit(hash: string, digits: string, isWanted: (digits: string) => boolean): Promise<UnreadPart[]> {
    const object = await read(hash);
    tree.hashes.push(hash);
    if ("routes" in object) {
      for (const route of object.routes) tree.routes.push(route);
      return [];
    }
    const parts = partsOf(object.parts, digits);
    const wanted = parts.filter((part) => isWanted(part.digits));
    const below = await Promise.all(wanted.map((part) => visit(part.part.hash, part.digits, isWanted)));
    const unread = [...parts.filter((part) => !wanted.includes(part)), ...below.flat()];
    if (bytesIn(unread) > snapshotLimits.leafBytesMax) return unread;
    await Promise.all(unread.map((part) => visit(part.part.hash, part.digits, () => true)));
    return [];
  }
  const unread = await visit(first, "", (digits) => tenants.some((tenant) => tenant.startsWith(digits)));
  return { ...tree, unread };
}

/** Every route of a bucket. */
export async function readRoutesBelow(read: ReadObject, first: string): Promise<Route[]> {
  const object = await read(first);
  if ("routes" in object) return object.routes;
  const parts = await Promise.all(Object.values(object.parts).map(({ hash }) => readRoutesBelow(read, hash)));
  return parts.flat();
}

/** Every object of a bucket by hash, the first one first. Of its parts, only the branches are read. */
export async function readNamesBelow(read: ReadObject, first: string): Promise<string[]> {
  const object = await read(first);
  if ("routes" in object) return [first];
  const below = await Promise.all(
    Object.values(object.parts).map(({ kind, hash }) => (kind === "leaf" ? [hash] : readNamesBelow(read, hash))),
  );
  return [first, ...below.flat()];
}

const partsOf = (parts: Record<string, RoutePart>, digits: string): UnreadPart[] =>
  Object.entries(parts).map(([digit, part]) => ({ digits: digits + digit, part }));
