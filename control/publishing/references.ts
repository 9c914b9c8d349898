/** Which objects of the snapshot buckets are named by commits, and whether a region has these commits. */
import { readCell } from "../../aws/ledger/cells.ts";
import { readRoutes } from "../../aws/ledger/commits.ts";
import { inParallel } from "../../aws/parallel.ts";
import type { Settings } from "../../aws/settings.ts";
import { publicKeys } from "../../aws/signing.ts";
import { type Bucket, getManifest } from "../../aws/snapshots.ts";
import { renderBucket } from "../../core/publishing/render.ts";
import { homeFirst } from "./regions.ts";
import { readFrom, readNamesBelow } from "./trees.ts";

/** Where a route object comes from: it can be rendered again. Structures have no such place. */
export interface Origin {
  cell: string;
  bucket: number;
}

export interface Referenced {
  origins: Map<string, Origin | undefined>;
  /** The generation of each cell's live commit. */
  generations: Map<string, number>;
  /** False when a branch can't be read: what it names is not known. */
  isWhole: boolean;
}

/** What any cell's live commit names, or its next commit may name. */
export async function readReferenced({ fleet, structures }: Settings): Promise<Referenced> {
  const origins = new Map<string, Origin | undefined>();
  const generations = new Map<string, number>();
  let isWhole = true;
  const read = readFrom(homeFirst(fleet));
  for (const { name: cell } of fleet.cells) {
    const { commit, structure } = await readCell(cell);
    if (commit !== undefined) generations.set(cell, commit.generation);
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
  return { origins, generations, isWhole };
}

/** The names of a bucket that can't be read, from the ledger; undefined when its routes have changed since. */
async function namesAgain(cell: string, bucket: number, root: string): Promise<string[] | undefined> {
  const { hash, objects } = renderBucket((await readRoutes(cell, bucket)).routes);
  return hash === root ? objects.map((object) => object.hash) : undefined;
}

/**
 * Whether each cell's manifest in this region is its live commit's. Only then does it name nothing else, and no publisher
 * can write an older one over it.
 */
export async function isUpToDate(bucket: Bucket, { generations }: Referenced): Promise<boolean> {
  const keys = await publicKeys();
  const current = await inParallel([...generations], async ([cell, generation]) => {
    const stored = await getManifest(bucket, cell, keys);
    return stored?.manifest?.generation === generation;
  });
  return !current.includes(false);
}
