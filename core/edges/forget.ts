import { edgeLimits } from "../../schemas/limits.ts";
import type { EdgeRow } from "./edge.ts";

/** Edges that missed several reports: EC2 is asked whether their instances are terminated. */
export const silentEdges = (edges: EdgeRow[], now: number): EdgeRow[] =>
  edges.filter(({ reportedAt }) => now - reportedAt > edgeLimits.silentMs);

/**
 * What to do with a silent edge. An edge that is not terminated still counts, because it may serve users. A terminated
 * edge is marked while the accelerator has it, so that failover removes it there. Then the edge is forgotten.
 */
export function actionOnSilentEdge(isTerminated: boolean, isAttached: boolean): "counts" | "mark" | "forget" {
  if (!isTerminated) return "counts";
  return isAttached ? "mark" : "forget";
}
