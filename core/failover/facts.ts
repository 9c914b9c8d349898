import { type EdgeRow, isReady, isRecent } from "../edges/edge.ts";
import type { EdgeFacts } from "./plan.ts";

export interface HealthSignal {
  region: string;
  edgeId?: string | undefined;
  health: "healthy" | "degraded";
}

/**
 * What failover knows about each edge, in order: its last report and the last health event about it. Only an edge that
 * reported recently is ready to be added: a terminated edge must not be added again.
 */
export function edgeFacts(rows: EdgeRow[], signals: HealthSignal[], now: number): EdgeFacts[] {
  const degraded = new Set(signals.filter((signal) => signal.health === "degraded").map((signal) => signal.edgeId));
  return rows
    .map((row) => ({
      edgeId: row.edgeId,
      region: row.region,
      ready: isReady(row) && row.terminated !== true && isRecent(row, now),
      gone: row.terminated === true,
      health: degraded.has(row.edgeId) || !row.serving ? ("degraded" as const) : ("healthy" as const),
    }))
    .toSorted((a, b) => (a.edgeId < b.edgeId ? -1 : 1));
}

/** Regions that a health event reported as degraded as a whole, in order. */
export const degradedRegions = (signals: HealthSignal[]): string[] =>
  signals
    .filter((signal) => signal.edgeId === undefined && signal.health === "degraded")
    .map((signal) => signal.region)
    .sort();
