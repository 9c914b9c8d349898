/** The commit of a cell, and the regional manifests that are copies of it. */
import type { Manifest } from "../../schemas/snapshot.ts";

/** The live commit: it alone defines what the cell's edges should serve. Times are milliseconds since 1970. */
export interface Commit {
  generation: number;
  incarnation: string;
  /** SHA-256 of each bucket's first object, in bucket order. */
  routes: string[];
  structure: Manifest["structure"];
  /** The edges of the cell when it was committed. */
  edges?: Manifest["edges"];
  /** Bytes of each bucket: admission reads from it how much room is left. */
  sizes: number[];
  committedAt: number;
}

/** The manifest of a commit. */
export const manifestOf = (
  cell: string,
  commit: Pick<Commit, "generation" | "incarnation" | "routes" | "structure" | "edges">,
  keyIds: string[],
): Manifest => ({
  cell,
  generation: commit.generation,
  incarnation: commit.incarnation,
  keyIds,
  routes: commit.routes,
  structure: commit.structure,
  edges: commit.edges ?? [],
});

/**
 * What to do with a region's manifest, given the live commit. A manifest with the commit's generation and other routes
 * belongs to another ledger.
 */
export function manifestStep(
  stored: Pick<Manifest, "generation" | "incarnation" | "routes"> | undefined,
  commit: Pick<Manifest, "generation" | "incarnation" | "routes">,
): "write" | "current" | "ledger-behind" {
  if (stored === undefined) return "write";
  if (stored.incarnation !== commit.incarnation || stored.generation > commit.generation) return "ledger-behind";
  if (stored.generation < commit.generation) return "write";
  return stored.routes.join() === commit.routes.join() ? "current" : "ledger-behind";
}
