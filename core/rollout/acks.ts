import { type ClosingSessions, type DrainProgress, rejectedMost } from "../../schemas/events.ts";

/** An edge as the ledger has it. Times are the ledger writer's clock, milliseconds since 1970. */
export interface EdgeRow {
  edgeId: string;
  cell: string;
  region: string;
  address: string;
  appliedGeneration: number;
  serving: boolean;
  reportedAt: number;
  /** The edge's own clock of its last report; an older one tells no more than that it lives, and what it applied. */
  edgeAt: number;
  /** Hash of the structure it runs. */
  structure?: string;
  rejectedRoutes: { tenantId: string; slot: number; reason: string }[];
  nack?: { generation: number; reason: string };
  closing?: ClosingSessions[];
  drain?: DrainProgress;
  /** When it came to serve its latest generations, oldest first. */
  acks?: { generation: number; at: number }[];
  /** EC2 says that its instance is terminated: it serves nobody any more. */
  terminated?: true;
}

/** Acks kept of an edge: enough for a rollout to settle while others go by. */
const acksMost = 50;

/** Edges report every 10 s; the rest is room for the way. */
export const recentReportMs = 15_000;

export interface WaitOutcome {
  satisfied: boolean;
  /** Edges that serve the generation, and those that were waited for in vain, in order. */
  served: { edgeId: string; region: string }[];
  missing: { edgeId: string; region: string; reason: string }[];
}

/** Do all edges that reported lately serve `generation`? No edge at all is not served. */
export const evaluateWait = (generation: number, edges: EdgeRow[], now: number): WaitOutcome =>
  evaluateEvery(
    generation,
    edges.filter((edge) => now - edge.reportedAt <= recentReportMs),
  );

/** The same of every edge that is known, however long it has been silent. */
export function evaluateEvery(generation: number, edges: EdgeRow[]): WaitOutcome {
  const counted = edges.filter((edge) => edge.appliedGeneration > 0).toSorted((a, b) => (a.edgeId < b.edgeId ? -1 : 1));
  const serves = (edge: EdgeRow) => edge.appliedGeneration >= generation;
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

/** The same for one tenant: an edge that serves the generation but refuses the tenant's route does not serve the tenant. */
export function forTenant(outcome: WaitOutcome, edges: EdgeRow[], tenantId: string): WaitOutcome {
  const refusals = edges.flatMap(({ edgeId, rejectedRoutes }) =>
    rejectedRoutes.filter((route) => route.tenantId === tenantId).map(({ reason }) => [edgeId, reason] as const),
  );
  const reasons = new Map(refusals);
  // A full list may be cut short: who is not on it may be refused too.
  for (const { edgeId, rejectedRoutes } of edges)
    if (rejectedRoutes.length >= rejectedMost && !reasons.has(edgeId))
      reasons.set(edgeId, `refuses ${rejectedMost} routes or more, this one perhaps`);
  const refusing = outcome.served.filter(({ edgeId }) => reasons.has(edgeId));
  const served = outcome.served.filter(({ edgeId }) => !reasons.has(edgeId));
  const missing = [...outcome.missing, ...refusing.map((edge) => ({ ...edge, reason: reasons.get(edge.edgeId)! }))];
  return { satisfied: served.length > 0 && missing.length === 0, served, missing };
}

export interface EdgeReportFacts {
  edgeId: string;
  cell: string;
  region: string;
  address: string;
  at: number;
  appliedGeneration: number;
  serving: boolean;
  structure?: string | undefined;
  rejectedRoutes: EdgeRow["rejectedRoutes"];
  nack?: { generation: number; reason: string } | undefined;
  closing?: ClosingSessions[] | undefined;
  drain?: DrainProgress | undefined;
}

/** The row after a report. Reports may come twice or out of order: the applied generation only grows. */
export function mergeReport(row: EdgeRow | undefined, report: EdgeReportFacts, now: number): EdgeRow {
  const appliedGeneration = Math.max(row?.appliedGeneration ?? 0, report.appliedGeneration);
  const news = appliedGeneration > (row?.appliedGeneration ?? 0) ? [{ generation: appliedGeneration, at: now }] : [];
  const acks = [...(row?.acks ?? []), ...news].slice(-acksMost);
  if (row !== undefined && report.at < row.edgeAt) return { ...row, reportedAt: now, appliedGeneration, acks };
  const { at, nack, structure, closing, drain, ...facts } = report;
  return {
    ...facts,
    appliedGeneration,
    reportedAt: now,
    edgeAt: Math.min(at, now), // an edge whose clock ran ahead must be heard when it is set back
    acks,
    ...(nack === undefined ? {} : { nack }),
    ...(structure === undefined ? {} : { structure }),
    ...(closing === undefined ? {} : { closing }),
    ...(drain === undefined ? {} : { drain }),
  };
}

/** When each of these edges came to serve `generation` or a later one, in order; who is not known to is left out. */
export const acksOf = (generation: number, edges: EdgeRow[]): { edgeId: string; region: string; at: number }[] =>
  edges
    .flatMap(({ edgeId, region, acks = [] }) => {
      const ack = acks.find((candidate) => candidate.generation >= generation);
      return ack === undefined ? [] : [{ edgeId, region, at: ack.at }];
    })
    .sort((a, b) => (a.edgeId < b.edgeId ? -1 : 1));

/** Ready to take users: it serves a generation, and nginx accepts. */
export const isReady = (row: EdgeRow) => row.appliedGeneration > 0 && row.serving;

/** Refusals that a report brought, and those that it took back. */
export function refusalChanges(before: EdgeRow | undefined, after: EdgeRow) {
  const key = ({ tenantId, slot, reason }: EdgeRow["rejectedRoutes"][number]) => `${tenantId} ${slot} ${reason}`;
  const had = new Set((before?.rejectedRoutes ?? []).map(key));
  const refused = after.rejectedRoutes.filter((route) => !had.has(key(route)));
  const still = new Set(after.rejectedRoutes.map(({ tenantId }) => tenantId));
  const accepted = (before?.rejectedRoutes ?? []).map(({ tenantId }) => tenantId).filter((id) => !still.has(id));
  return { refused, accepted: [...new Set(accepted)].sort() };
}
