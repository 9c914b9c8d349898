/** The trees of route buckets: which objects they name, and which leaves a new manifest changes. */
import { snapshotLimits } from "../../../schemas/limits.ts";
import { type Manifest, RouteBranch } from "../../../schemas/snapshot.ts";

/** A bucket's leaves by the digits that lead to them, and every object of the bucket, by hash. */
export interface Tree {
  leaves: Map<string, string>;
  names: string[];
}

/** Trees by the hash of their first object: the content of a hash never changes. */
export type Trees = ReadonlyMap<string, Tree>;

/** Reads the trees of these buckets, except those that are known. Leaves are read only where they come first. */
export async function readTrees(
  buckets: string[],
  known: Trees,
  object: (hash: string) => Promise<string>,
): Promise<Trees> {
  const trees = new Map<string, Tree>();
  await inBatches([...new Set(buckets)], async (first) => {
    trees.set(first, known.get(first) ?? (await readTree(first, object)));
  });
  return trees;
}

async function readTree(first: string, object: (hash: string) => Promise<string>): Promise<Tree> {
  const tree: Tree = { leaves: new Map(), names: [] };
  async function visit(hash: string, digits: string): Promise<void> {
    tree.names.push(hash);
    const parts = partsOf(await object(hash));
    if (parts === undefined) return void tree.leaves.set(digits, hash);
    for (const [digit, part] of Object.entries(parts))
      if (part.kind === "branch") await visit(part.hash, digits + digit);
      else {
        tree.names.push(part.hash);
        tree.leaves.set(digits + digit, part.hash);
      }
  }
  await visit(first, "");
  return tree;
}

/** The objects that a manifest names. Of buckets without a tree yet, only what is on disk is known. */
export function objectsOf(
  { routes, structure }: Manifest,
  trees: Trees,
  object: (hash: string) => string | undefined,
): string[] {
  const below = routes.flatMap((first) => trees.get(first)?.names ?? namesOnDisk(first, object));
  return [...below, structure.default, ...Object.values(structure.overrides)];
}

/** The objects below one that may be only in part on this disk: those whose branches are. */
function namesOnDisk(first: string, object: (hash: string) => string | undefined): string[] {
  const text = object(first);
  const parts = Object.values((text === undefined ? undefined : partsOf(text)) ?? {});
  return [first, ...parts.flatMap(({ kind, hash }) => (kind === "branch" ? namesOnDisk(hash, object) : [hash]))];
}

/** @throws Error when the text is a branch that this agent does not understand */
function partsOf(text: string): RouteBranch["parts"] | undefined {
  const value = JSON.parse(text) as object;
  return "routes" in value ? undefined : RouteBranch.parse(value).parts;
}

/** The hash of each leaf, by bucket and digits. */
export type Leaves = ReadonlyMap<string, string>;

export const leavesOf = (buckets: string[], trees: Trees): Leaves =>
  new Map(
    buckets.flatMap((first, bucket) =>
      [...trees.get(first)!.leaves].map(([digits, hash]) => [`${bucket}/${digits}`, hash] as const),
    ),
  );

/** As many side by side as an edge may read at once. */
export async function inBatches<T>(items: T[], run: (item: T) => Promise<void>): Promise<void> {
  const { objectReadsMax } = snapshotLimits;
  for (let from = 0; from < items.length; from += objectReadsMax)
    await Promise.all(items.slice(from, from + objectReadsMax).map(run));
}
