import { edgeLimits } from "../../schemas/limits.ts";
import type { EdgeRow } from "./edge.ts";

/** Edges that missed so many reports that EC2 is asked about them. */
export const silentEdges = (edges: EdgeRow[], now: number): EdgeRow[] =>
  edges.filter(({ reportedAt }) => now - reportedAt > edgeLimits.silentMs);

/**
 * What becomes of a silent edge. One that is not terminated counts on, because it may still serve users. A terminated one is
 * marked while the accelerator has it, so that failover takes it out; then it is forgotten.
 */
export function fateOf(isTerminated: boolean, isAttached: boolean): "counts" | "mark" | "forget" {
  if (!isTerminated) return "counts";
  return isAttached ? "mark" : "forget";
}
