/** Which edges serve a generation: what a rollout waits for, and what a status says. */
import { edgeLimits } from "../../schemas/limits.ts";
import { type EdgeDetail, type EdgeSummary, isGone, isRecent } from "../edges/edge.ts";

export interface WaitOutcome {
  satisfied: boolean;
  /** Edges that serve the generation, and edges that do not yet, in order. */
  served: { edgeId: string; region: string }[];
  missing: { edgeId: string; region: string; reason: string }[];
}

/** Whether all edges that reported lately serve `generation`. A cell without such an edge does not serve it. */
export const evaluateWait = (generation: number, edges: EdgeSummary[], now: number): WaitOutcome =>
  evaluateEvery(
    generation,
    edges.filter((edge) => isRecent(edge, now)),
  );

/** The same for every known edge, however long it has been silent. */
export function evaluateEvery(generation: number, edges: EdgeSummary[]): WaitOutcome {
  const counted = edges.filter((edge) => edge.appliedGeneration > 0).toSorted((a, b) => (a.edgeId < b.edgeId ? -1 : 1));
  const serves = (edge: EdgeSummary) => edge.appliedGeneration >= generation;
  const missing = counted
    .filter((edge) => !serves(edge))
    .map((edge) => ({
      edgeId: edge.edgeId,
      region: edge.region,
      reason: edge.nack?.reason ?? `serves generation ${edge.appliedGeneration}`,
    }));
  const served = counted.filter(serves).map(({ edgeId, region }) => ({ edgeId, region }));
  return { satisfied: served.length > 0 && missing.length === 0, served, missing };
}

/**
 * How many of the cell's edges a settled rollout still waits for. When no edge reported lately it waits for all that have
 * not gone: more likely their reports are late.
 */
export const lackingOf = ({ served, missing }: WaitOutcome, edges: EdgeSummary[]): number =>
  served.length + missing.length > 0 ? missing.length : edges.filter((edge) => !isGone(edge)).length;

/**
 * The same for one tenant: an edge that serves the generation but refuses the tenant's route does not serve the tenant.
 * `edges` are those that refuse any route.
 */
export function forTenant(
  outcome: WaitOutcome,
  edges: Pick<EdgeDetail, "edgeId" | "rejectedRoutes">[],
  tenantId: string,
): WaitOutcome {
  const refusals = edges.flatMap(({ edgeId, rejectedRoutes }) =>
    rejectedRoutes.filter((route) => route.tenantId === tenantId).map(({ reason }) => [edgeId, reason] as const),
  );
  const reasons = new Map(refusals);
  // A full list may be cut short: a tenant that is not on it may be refused too.
  for (const { edgeId, rejectedRoutes } of edges)
    if (rejectedRoutes.length >= edgeLimits.rejectedRoutesMax && !reasons.has(edgeId))
      reasons.set(edgeId, `refuses ${edgeLimits.rejectedRoutesMax} routes or more, perhaps this one too`);
  const refusing = outcome.served.filter(({ edgeId }) => reasons.has(edgeId));
  const served = outcome.served.filter(({ edgeId }) => !reasons.has(edgeId));
  const missing = [...outcome.missing, ...refusing.map((edge) => ({ ...edge, reason: reasons.get(edge.edgeId)! }))];
  return { satisfied: served.length > 0 && missing.length === 0, served, missing };
}

/** When each edge began to serve `generation` or a later one, in order. Edges without such an ack are left out. */
export const acksOf = (generation: number, edges: EdgeSummary[]): { edgeId: string; region: string; at: number }[] =>
  edges
    .flatMap(({ edgeId, region, acks = [] }) => {
      const ack = acks.find((candidate) => candidate.generation >= generation);
      return ack === undefined ? [] : [{ edgeId, region, at: ack.at }];
    })
    .sort((a, b) => (a.edgeId < b.edgeId ? -1 : 1));
