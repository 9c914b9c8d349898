/** Stores an edge's report: what it serves, or why not. Ends satisfied waits, and informs failover of readiness. */
import { putEvents } from "../aws/events.ts";
import { readEdge, writeEdge } from "../aws/ledger/edges.ts";
import { putRefusal, removeRefusal } from "../aws/ledger/status.ts";
import { logger } from "../aws/logger.ts";
import { inParallel } from "../aws/parallel.ts";
import { evaluateWaits } from "../control/rollout/waits.ts";
import { assertReport } from "../core/assert.ts";
import { type EdgeRow, isAnnounced, isReady, mergeReport, refusalChanges } from "../core/edges/edge.ts";
import { RowChangedError } from "../core/errors.ts";
import { type ControlEvent, detailTypes, EdgeReport, envelope } from "../schemas/events.ts";
import { edgeLimits } from "../schemas/limits.ts";
import { handler as shell } from "./shell/handler.ts";

/**
 * Two reports of one edge may run at the same time: the one that finds the row changed merges again. Lambda itself would
 * repeat an asynchronous invocation only after a minute.
 */
export const handler = shell(envelope(EdgeReport), async ({ detail }) => {
  for (let attempt = 1; ; attempt++)
    try {
      return await record(detail);
    } catch (error) {
      if (!(error instanceof RowChangedError) || attempt >= edgeLimits.reportMergesMax) throw error;
    }
});

async function record(report: EdgeReport): Promise<void> {
  const { cell, region, edgeId } = report;
  const now = Date.now();
  const known = await readEdge(cell, edgeId);
  const edge = mergeReport(known?.edge, report, now);
  // The notes and their events come before the row: a retry that finds the row written sends nothing.
  const { refused, accepted } = refusalChanges(known?.edge, edge);
  await inParallel(refused, ({ tenantId, reason }) => putRefusal(tenantId, { edgeId, region, reason, at: now }));
  await inParallel(accepted, (tenantId) => removeRefusal(tenantId, edgeId));
  const events: ControlEvent[] = refused.map(({ tenantId, reason }) => ({
    detailType: detailTypes.tenantQuarantined,
    detail: { tenantId, edgeId, region, reason },
  }));
  await putEvents(events);
  assertReport(edge, known?.edge, edgeId, cell);
  await announceReadiness(edge, await writeEdge(edge, known?.version ?? 0));
  await evaluateWaits(cell, now); // also after heartbeats: an edge that stopped reporting no longer delays a wait
}

/**
 * Tells failover of a readiness that the row shows already, because failover reads the row. The row notes it only
 * afterwards, so that the next report repeats an announcement that failed.
 */
async function announceReadiness(edge: EdgeRow, version: number): Promise<void> {
  if (isAnnounced(edge)) return;
  const { cell, region, edgeId } = edge;
  const ready = isReady(edge);
  logger.info("edge readiness changed", { edgeId, region, ready });
  await putEvents([{ detailType: detailTypes.edgeReadiness, detail: { cell, region, edgeId, ready } }]);
  await writeEdge({ ...edge, announced: ready }, version);
}
