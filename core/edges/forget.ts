import { edgeLimits } from "../../schemas/limits.ts";
import type { EdgeSummary } from "./edge.ts";

/** Edges that missed several reports: EC2 is asked whether their instances are terminated. */
export const isSilent = ({ reportedAt }: EdgeSummary, now: number) => now - reportedAt > edgeLimits.silentMs;

/**
 * What to do with a silent edge. An edge that is not terminated still counts, because it may serve users. A terminated
 * edge is marked while the accelerator has it, so that failover removes it there. Then the edge is forgotten.
 */
export function actionOnSilentEdge(isTerminated: boolean, isAttached: boolean): "counts" | "mark" | "forget" {
  if (!isTerminated) return "counts";
  return isAttached ? "mark" : "forget";
}
