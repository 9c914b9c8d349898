/** Which objects of the snapshot buckets are named by a commit or by a manifest. */
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
  /** False when a branch can't be read: what it names is not known. */
  isWhole: boolean;
}

/** What any cell's live commit names, or its next commit may name. */
export async function readReferenced({ fleet, structures }: Settings): Promise<Referenced> {
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

/**
 * What the manifests of a region name. They may be older than the live commits, while the region could not be written.
 * @throws Error when a manifest or a branch can't be read
 */
export async function readNamedIn(bucket: Bucket, { fleet }: Settings): Promise<string[]> {
  const keys = await publicKeys();
  const read = readFrom([bucket, ...homeFirst(fleet)]);
  const named = await inParallel(fleet.cells, async ({ name }) => {
    const { manifest } = (await getManifest(bucket, name, keys)) ?? {};
    if (manifest === undefined) return [];
    const { default: first, overrides } = manifest.structure;
    const below = await inParallel(manifest.routes, (root) => readNamesBelow(read, root));
    return [...below.flat(), first, ...Object.values(overrides)];
  });
  return named.flat();
}
