/** Writes what reports change of a cell's edges. */
import { putEvents } from "../../aws/events.ts";
import { readTenantRows } from "../../aws/ledger/admission.ts";
import { readCommit } from "../../aws/ledger/commits.ts";
import {
  readDetails,
  type StoredDetail,
  type StoredSummary,
  writeDetail,
  writeSummaries,
} from "../../aws/ledger/edges.ts";
import { putRefusal, removeRefusal } from "../../aws/ledger/status.ts";
import { logger } from "../../aws/logger.ts";
import { inParallel } from "../../aws/parallel.ts";
import { assertReport } from "../../core/assert.ts";
import { canonicalJson } from "../../core/canonical.ts";
import {
  asAnnounced,
  type Edge,
  isAnnounced,
  isBeat,
  isReady,
  isUnheard,
  mergeBeat,
  mergeReport,
  partsOf,
  refusalChanges,
} from "../../core/edges/edge.ts";
import type { Ignored } from "../../core/edges/identity.ts";
import { credible } from "../../core/edges/reports.ts";
import { type ControlEvent, detailTypes } from "../../schemas/events.ts";
import type { Identified } from "./identify.ts";

/** A part of a report that was not taken, and the report's writer. */
export type Doubt = [reason: Ignored, writer: string];

/**
 * Notes, events and details come before the summaries: a retry that finds a summary written has nothing left to do, and
 * whoever reads the summaries first finds details that are at least as new.
 * @throws RowChangedError when another delivery wrote one of the edges meanwhile
 */
export async function recordIn(cell: string, edges: Identified[], now: number): Promise<Doubt[]> {
  const news: Identified[] = [];
  const beats: StoredSummary[] = [];
  for (const edge of edges) {
    const { known, written } = edge;
    if (known === undefined || !isBeat(known.summary, written.report)) news.push(edge);
    else beats.push({ summary: mergeBeat(known.summary, written), version: known.version });
  }
  const details = await readDetails(news.map(({ identity }) => identity.edgeId));
  const { merged, doubts } = await mergeNews(cell, news, details, now);
  await inParallel(merged, ({ before, after, stored }) => saveDetail(before, after, stored, now));
  const summaries = merged.map(({ after, version }) => ({ summary: partsOf(after).summary, version }));
  await announceReadiness(cell, await writeSummaries(cell, [...beats, ...summaries]));
  return doubts;
}

interface Merged {
  before: Edge | undefined;
  after: Edge;
  /** The version of the summary, and the details, that `before` was read from. */
  version: number;
  stored: StoredDetail | undefined;
}

async function mergeNews(cell: string, news: Identified[], details: Map<string, StoredDetail>, now: number) {
  const generationOf = ({ known }: Identified) => known?.summary.appliedGeneration ?? 0;
  const needsLive = news.some(
    (edge) => isUnheard(edge.known?.summary) || edge.written.report.appliedGeneration > generationOf(edge),
  );
  const live = needsLive ? ((await readCommit(cell))?.generation ?? 0) : 0;
  const refused = news.flatMap(({ written }) => written.report.rejectedRoutes.map(({ tenantId }) => tenantId));
  const tenants = await readTenantRows([...new Set(refused)]);
  const doubts: Doubt[] = [];
  const merged = news.map((edge): Merged => {
    const { written, identity, known } = edge;
    const stored = details.get(identity.edgeId);
    const before = known && stored && { ...known.summary, ...stored.detail };
    const taken = credible(written.report, { live, known: generationOf(edge), isTenant: (id) => tenants.has(id) });
    for (const reason of taken.doubts) doubts.push([reason, written.writer]);
    const joinsFrom = isUnheard(known?.summary) ? live : before?.joinsFrom;
    const after = mergeReport(before, identity, { ...written, report: taken.report }, now, joinsFrom);
    assertReport(after, before, identity.edgeId, cell);
    return { before, after, version: known?.version ?? 0, stored };
  });
  return { merged, doubts };
}

/** Writes the details if they changed, after the notes of routes that the edge refuses or takes again. */
async function saveDetail(before: Edge | undefined, after: Edge, stored: StoredDetail | undefined, now: number) {
  const { edgeId, region } = after;
  const { detail } = partsOf(after);
  if (stored !== undefined && canonicalJson(stored.detail) === canonicalJson(detail)) return;
  const { refused, accepted } = refusalChanges(before, after);
  await inParallel(refused, ({ tenantId, reason }) => putRefusal(tenantId, { edgeId, region, reason, at: now }));
  await inParallel(accepted, (tenantId) => removeRefusal(tenantId, edgeId));
  await putEvents(
    refused.map(({ tenantId, reason }) => ({
      detailType: detailTypes.tenantQuarantined,
      detail: { tenantId, edgeId, region, reason },
    })),
  );
  await writeDetail({ detail, version: stored?.version ?? 0 });
}

/**
 * Tells failover of readiness that the summaries show already, because failover reads them. They note it only afterwards,
 * so that the next report repeats an announcement that failed.
 */
async function announceReadiness(cell: string, stored: Map<string, StoredSummary>): Promise<void> {
  const due = [...stored.values()].filter(({ summary }) => !isAnnounced(summary));
  if (due.length === 0) return;
  const events = due.map(({ summary }): ControlEvent => {
    const { region, edgeId, fullness } = summary;
    const detail = { cell, region, edgeId, ready: isReady(summary), ...(fullness === undefined ? {} : { fullness }) };
    return { detailType: detailTypes.edgeReadiness, detail };
  });
  logger.info("edge readiness changed", { cell, edges: events.map(({ detail }) => detail) });
  await putEvents(events);
  await writeSummaries(
    cell,
    due.map(({ summary, version }) => ({ summary: asAnnounced(summary), version })),
  );
}
