/** What a manifest changes on this edge. Pure: the agent fetches, saves and serves what a plan says. */
import type { Manifest } from "../../../schemas/snapshot.ts";
import { type Leaves, leavesOf, type Trees } from "./trees.ts";

/** The snapshot that an edge serves. An application makes another one of it. */
export interface Applied {
  /** Undefined before the first. */
  manifest: Manifest | undefined;
  /** The trees of its buckets. */
  trees: Trees;
  /** The hash of each leaf that the files are of; `unknown` where they may be of another one. */
  leaves: Leaves;
  /** The part of the structure for which the files were rendered, as text. */
  renderedFor: string | undefined;
}

/** The hash of no object. */
export const unknown = "";

export const nothingApplied: Applied = {
  manifest: undefined,
  trees: new Map(),
  leaves: new Map(),
  renderedFor: undefined,
};

export interface ApplyPlan {
  /** Leaves to serve. Of those whose `last` hash is known, only the routes that differ from it are rendered. */
  changed: { leaf: string; hash: string; last: string | undefined }[];
  /** Leaves that the manifest has no more. */
  gone: string[];
  /** What is served while the plan is carried out, and if it fails: nobody knows what the files of its leaves say. */
  during: Applied;
  /** What is served once it is carried out. */
  after: Applied;
}

/** `trees` are the manifest's, and `rendering` is the part of the structure that all routes depend on, as text. */
export function planApply(applied: Applied, manifest: Manifest, trees: Trees, rendering: string): ApplyPlan {
  const leaves = leavesOf(manifest.routes, trees);
  const everything = rendering !== applied.renderedFor;
  const changed = [...leaves].flatMap(([leaf, hash]) => {
    const before = applied.leaves.get(leaf);
    if (!everything && before === hash) return [];
    return [{ leaf, hash, last: everything || before === unknown ? undefined : before }];
  });
  const gone = [...applied.leaves.keys()].filter((leaf) => !leaves.has(leaf));
  const open = [...changed.map(({ leaf }) => leaf), ...gone].map((leaf) => [leaf, unknown] as const);
  return {
    changed,
    gone,
    during: { ...applied, leaves: new Map([...applied.leaves, ...open]) },
    after: { manifest, trees, leaves, renderedFor: rendering },
  };
}
