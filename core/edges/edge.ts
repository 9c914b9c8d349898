/** An edge as the ledger has it, and what a report changes in it. */
import { edgeLimits } from "../../schemas/limits.ts";
import type { ClosingSessions, DrainProgress, EdgeReport, Fullness } from "../../schemas/report.ts";
import { sha256 } from "../../schemas/signed.ts";
import type { EdgePlace } from "../../schemas/snapshot.ts";

/** Which edge it is, and where. No report says this: it follows from the report's key and from EC2. */
export interface EdgeIdentity {
  edgeId: string;
  cell: string;
  region: string;
  address: string;
}

/**
 * What nearly every report changes. A few items of the ledger have the summaries of a cell's edges, so that a rollout
 * reads only these to learn who serves its generation. Times are milliseconds since 1970.
 */
export interface EdgeSummary extends EdgeIdentity {
  appliedGeneration: number;
  serving: boolean;
  /** When the newest report was written, by the Reports table's clock, in whole seconds. */
  reportedAt: number;
  /**
   * The edge's own clock at its newest report, and when that report's text was new: 0 if a part of it was not taken. An
   * older report changes little.
   */
  edgeAt: number;
  changedAt: number;
  /** How many routes it refuses. */
  refuses: number;
  nack?: { generation: number; reason: string };
  /** When it was seen to serve its latest generations, oldest first, by the controller's clock. */
  acks?: { generation: number; at: number }[];
  /** How full it is; absent while there is room. */
  fullness?: Fullness;
  /** Neighbours that it can't reach any more, and those of whom failover was told. */
  accuses?: string[];
  announcedAccuses?: string[];
  /** The readiness that failover was told, absent while it must still be told, and the fullness. */
  announced?: boolean;
  announcedFullness?: Fullness;
  /** EC2 reports its instance as terminated: it serves no user any more. */
  terminated?: true;
  /**
   * The live generation when it was heard for the first time, if it served an older one: it takes no users before it serves
   * this one. Slots and names that it still serves may have been freed while nobody knew of it.
   */
  joinsFrom?: number;
  /** It was silent for so long that its instance is to be terminated. Its next report ends that. */
  givenUp?: true;
}

/** Whether an edge never reported. It may be known all the same, because the accelerator has it. */
export const isUnheard = (known: EdgeSummary | undefined): boolean => known === undefined || known.edgeAt === 0;

/** Which of the cell's items has the edge's summary. */
export const summaryItemOf = (edgeId: string): number =>
  Number.parseInt(sha256(edgeId).slice(0, 8), 16) % edgeLimits.summaryItems;

/** What few reports change. Each edge's is an item of its own. */
export interface EdgeDetail {
  edgeId: string;
  cell: string;
  /** The key of its reports. */
  writer: string;
  /** Hash of the structure it runs. */
  structure?: string;
  rejectedRoutes: { tenantId: string; slot: number; reason: string }[];
  closing?: ClosingSessions[];
  drain?: DrainProgress;
}

export interface Edge extends EdgeSummary, EdgeDetail {}

/** The two parts of an edge, as they are written. */
export function partsOf(edge: Edge): { summary: EdgeSummary; detail: EdgeDetail } {
  const { writer, structure, rejectedRoutes, closing, drain, ...summary } = edge;
  const { edgeId, cell } = edge;
  const optional = {
    ...(structure === undefined ? {} : { structure }),
    ...(closing === undefined ? {} : { closing }),
    ...(drain === undefined ? {} : { drain }),
  };
  return { summary, detail: { edgeId, cell, writer, rejectedRoutes, ...optional } };
}

/** A report as it is in the Reports table. */
export interface WrittenReport {
  /** Its key: the writer's `aws:userid`. */
  writer: string;
  report: EdgeReport;
  /** When it was written, by the table's clock. */
  reportedAt: number;
}

/** Whether a report says nothing new: its edge runs as before. */
export const isBeat = (known: EdgeSummary, report: EdgeReport) => known.changedAt === report.changedAt;

/**
 * The edge's own time of a report, but not later than the table's second: a clock that ran ahead and was set back must not
 * make later reports look old. The clock of an invocation is no measure, because another one may be behind it.
 */
const ownTime = ({ report, reportedAt }: WrittenReport) => Math.min(report.at, reportedAt + 999);

/** The summary after such a report. */
export const mergeBeat = ({ givenUp: _, ...known }: EdgeSummary, written: WrittenReport): EdgeSummary => ({
  ...known,
  reportedAt: Math.max(known.reportedAt, written.reportedAt),
  edgeAt: Math.max(known.edgeAt, ownTime(written)),
});

/**
 * The edge after a report. Reports may come twice or out of order: the applied generation only grows. `joinsFrom` is the live
 * generation if this is the edge's first report.
 */
export function mergeReport(
  known: Edge | undefined,
  identity: EdgeIdentity,
  written: WrittenReport,
  now: number,
  joinsFrom = known?.joinsFrom,
): Edge {
  const { writer, report, reportedAt } = written;
  const before = known?.appliedGeneration ?? 0;
  const appliedGeneration = Math.max(before, report.appliedGeneration);
  const news = appliedGeneration > before ? [{ generation: appliedGeneration, at: now }] : [];
  const acks = [...(known?.acks ?? []), ...news].slice(-edgeLimits.acksKeptMax);
  const latest = { appliedGeneration, acks, reportedAt: Math.max(known?.reportedAt ?? 0, reportedAt) };
  const joining = joinsFrom === undefined || appliedGeneration >= joinsFrom ? {} : { joinsFrom };
  if (known !== undefined && report.at < known.edgeAt) {
    const { joinsFrom: _, ...before } = known;
    return noteDue({ ...before, ...latest, ...joining });
  }
  const { region: _, at: __, nack, structure, closing, drain, fullness, accuses, ...said } = report;
  return noteDue({
    ...said,
    ...identity,
    writer,
    ...latest,
    ...joining,
    edgeAt: ownTime(written),
    refuses: report.rejectedRoutes.length,
    ...(nack === undefined ? {} : { nack }),
    ...(structure === undefined ? {} : { structure }),
    ...(closing === undefined ? {} : { closing }),
    ...(drain === undefined ? {} : { drain }),
    ...(fullness === undefined ? {} : { fullness }),
    ...(accuses === undefined || accuses.length === 0 ? {} : { accuses }),
    ...(known?.announcedAccuses === undefined ? {} : { announcedAccuses: known.announcedAccuses }),
    ...(known?.announcedFullness === undefined ? {} : { announcedFullness: known.announcedFullness }),
    ...(known?.announced === undefined ? {} : { announced: known.announced }),
    ...(known?.terminated === undefined ? {} : { terminated: known.terminated }),
  });
}

/** Drops the note of an announcement that another readiness has overtaken. */
function noteDue(edge: Edge): Edge {
  const { announced: _, ...due } = edge;
  return isAnnounced(edge) ? edge : due;
}

/** Whether the edge reported recently. */
export const isRecent = ({ reportedAt }: Pick<EdgeSummary, "reportedAt">, now: number) =>
  now - reportedAt <= edgeLimits.recentReportMs;

/** Whether the edge must leave the accelerator. */
export const isGone = ({ terminated, givenUp }: EdgeSummary) => terminated === true || givenUp === true;

/** Whether the edge can take users: it serves a generation that is new enough, and its nginx accepts connections. */
export const isReady = (edge: EdgeSummary) =>
  edge.appliedGeneration > 0 && edge.serving && edge.joinsFrom === undefined && !isGone(edge);

/** Whether failover was told of this readiness, this fullness, and whom it accuses. */
export const isAnnounced = (edge: EdgeSummary) =>
  edge.announced === isReady(edge) &&
  edge.announcedFullness === edge.fullness &&
  (edge.announcedAccuses ?? []).join() === (edge.accuses ?? []).join();

/** Edges that others can watch, in order. */
export const placesOf = (edges: EdgeSummary[]): EdgePlace[] =>
  edges
    .filter((edge) => !isUnheard(edge) && !isGone(edge) && edge.address !== "")
    .map(({ edgeId: id, region, address }) => ({ id, region, address }))
    .sort((a, b) => (a.id < b.id ? -1 : 1));

/** The summary after failover was told of it. */
export function asAnnounced({ announcedFullness: _, announcedAccuses: __, ...edge }: EdgeSummary): EdgeSummary {
  const { fullness, accuses } = edge;
  return {
    ...edge,
    announced: isReady(edge),
    ...(fullness === undefined ? {} : { announcedFullness: fullness }),
    ...(accuses === undefined ? {} : { announcedAccuses: accuses }),
  };
}

/** Refusals that a report added, and tenants whose routes it no longer refuses. */
export function refusalChanges(before: EdgeDetail | undefined, after: EdgeDetail) {
  const key = ({ tenantId, slot, reason }: EdgeDetail["rejectedRoutes"][number]) => `${tenantId} ${slot} ${reason}`;
  const known = new Set((before?.rejectedRoutes ?? []).map(key));
  const refused = after.rejectedRoutes.filter((route) => !known.has(key(route)));
  const refusedNow = new Set(after.rejectedRoutes.map(({ tenantId }) => tenantId));
  const accepted = (before?.rejectedRoutes ?? []).map(({ tenantId }) => tenantId).filter((id) => !refusedNow.has(id));
  return { refused, accepted: [...new Set(accepted)].sort() };
}
