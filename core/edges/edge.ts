/** An edge as the ledger has it, and what a report changes in it. */
import type { ClosingSessions, DrainProgress } from "../../schemas/events.ts";
import { edgeLimits } from "../../schemas/limits.ts";

/** Times are the ledger writer's clock, milliseconds since 1970. */
export interface EdgeRow {
  edgeId: string;
  cell: string;
  region: string;
  address: string;
  appliedGeneration: number;
  serving: boolean;
  reportedAt: number;
  /** The edge's own clock at its newest report. An older report changes only `reportedAt` and `appliedGeneration`. */
  edgeAt: number;
  /** Hash of the structure it runs. */
  structure?: string;
  rejectedRoutes: { tenantId: string; slot: number; reason: string }[];
  nack?: { generation: number; reason: string };
  closing?: ClosingSessions[];
  drain?: DrainProgress;
  /** When it began to serve its latest generations, oldest first. */
  acks?: { generation: number; at: number }[];
  /** The readiness that failover was told. Absent while it must still be told. */
  announced?: boolean;
  /** EC2 reports its instance as terminated: it serves no user any more. */
  terminated?: true;
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
  const acks = [...(row?.acks ?? []), ...news].slice(-edgeLimits.acksKeptMax);
  if (row !== undefined && report.at < row.edgeAt) return noteDue({ ...row, reportedAt: now, appliedGeneration, acks });
  const { at, nack, structure, closing, drain, ...facts } = report;
  return noteDue({
    ...facts,
    appliedGeneration,
    reportedAt: now,
    edgeAt: Math.min(at, now), // a clock that ran ahead and was set back must not make later reports look old
    acks,
    ...(nack === undefined ? {} : { nack }),
    ...(structure === undefined ? {} : { structure }),
    ...(closing === undefined ? {} : { closing }),
    ...(drain === undefined ? {} : { drain }),
    ...(row?.announced === undefined ? {} : { announced: row.announced }),
  });
}

/** Drops the note of an announcement that another readiness has overtaken. */
function noteDue(row: EdgeRow): EdgeRow {
  const { announced: _, ...due } = row;
  return isAnnounced(row) ? row : due;
}

/** Whether the edge reported recently. */
export const isRecent = ({ reportedAt }: Pick<EdgeRow, "reportedAt">, now: number) =>
  now - reportedAt <= edgeLimits.recentReportMs;

/** Whether the edge can take users: it serves a generation, and its nginx accepts connections. */
export const isReady = (row: EdgeRow) => row.appliedGeneration > 0 && row.serving;

/** Whether failover was told of this readiness. */
export const isAnnounced = (row: EdgeRow) => row.announced === isReady(row);

/** Refusals that a report added, and tenants whose routes it no longer refuses. */
export function refusalChanges(before: EdgeRow | undefined, after: EdgeRow) {
  const key = ({ tenantId, slot, reason }: EdgeRow["rejectedRoutes"][number]) => `${tenantId} ${slot} ${reason}`;
  const known = new Set((before?.rejectedRoutes ?? []).map(key));
  const refused = after.rejectedRoutes.filter((route) => !known.has(key(route)));
  const refusedNow = new Set(after.rejectedRoutes.map(({ tenantId }) => tenantId));
  const accepted = (before?.rejectedRoutes ?? []).map(({ tenantId }) => tenantId).filter((id) => !refusedNow.has(id));
  return { refused, accepted: [...new Set(accepted)].sort() };
}
