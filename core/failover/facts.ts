import { type EdgeSummary, isGone, isReady, isRecent } from "../edges/edge.ts";
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
export function edgeFacts(edges: EdgeSummary[], signals: HealthSignal[], now: number): EdgeFacts[] {
  const degraded = new Set(signals.filter((signal) => signal.health === "degraded").map((signal) => signal.edgeId));
  return edges
    .map((edge) => ({
      edgeId: edge.edgeId,
      region: edge.region,
      ready: isReady(edge) && isRecent(edge, now),
      gone: isGone(edge),
      fullness: edge.fullness,
      health: degraded.has(edge.edgeId) || !edge.serving ? ("degraded" as const) : ("healthy" as const),
    }))
    .toSorted((a, b) => (a.edgeId < b.edgeId ? -1 : 1));
}

/** Regions that a health event reported as degraded as a whole, in order. */
export const degradedRegions = (signals: HealthSignal[]): string[] =>
  signals
    .filter((signal) => signal.edgeId === undefined && signal.health === "degraded")
    .map((signal) => signal.region)
    .sort();

/**
 * When a health event was observed: its own time, but not later than the bus got it. The bus's time has whole seconds and
 * is the same for a repeated event. A clock that runs ahead must not suppress all later signals. The function's own clock
 * counts only without the bus's time: the clocks of two invocations differ, so that the later event would look older.
 */
export function signalAt(own: number | undefined, bus: number, now: number): number {
  if (!Number.isFinite(bus)) return Math.min(own ?? now, now);
  return Math.min(own ?? bus, bus + 999);
}
