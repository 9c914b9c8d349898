/** An edge's word: what it serves, or why not. Ends the waits that it satisfies, and tells failover when it is ready. */
import { putEvents } from "../aws/events.ts";
import { readEdge, writeEdge } from "../aws/ledger/edges.ts";
import { putRefusal, removeRefusal } from "../aws/ledger/status.ts";
import { logger } from "../aws/logger.ts";
import { inParallel } from "../aws/parallel.ts";
import { evaluateWaits } from "../control/rollout/waits.ts";
import { assertReport } from "../core/assert.ts";
import { isReady, mergeReport, refusalChanges } from "../core/edges/edge.ts";
import { type ControlEvent, detailTypes, EdgeReport, envelope } from "../schemas/events.ts";
import { handler as shell } from "./shell/handler.ts";

export const handler = shell(envelope(EdgeReport), async ({ detail }) => {
  const { cell, region, edgeId } = detail;
  const now = Date.now();
  const known = await readEdge(cell, edgeId);
  const edge = mergeReport(known?.edge, detail, now);
  // Noted and said before the row has it: a retry that finds the row written has nothing left to say.
  const { refused, accepted } = refusalChanges(known?.edge, edge);
  await inParallel(refused, ({ tenantId, reason }) => putRefusal(tenantId, { edgeId, region, reason, at: now }));
  await inParallel(accepted, (tenantId) => removeRefusal(tenantId, edgeId));
  const events: ControlEvent[] = refused.map(({ tenantId, reason }) => ({
    detailType: detailTypes.tenantQuarantined,
    detail: { tenantId, edgeId, region, reason },
  }));
  const ready = isReady(edge);
  if (ready !== (known !== undefined && isReady(known.edge))) {
    logger.info("edge readiness changed", { edgeId, region, ready });
    events.push({ detailType: detailTypes.edgeReadiness, detail: { cell, region, edgeId, ready } });
  }
  await putEvents(events);
  assertReport(edge, known?.edge, edgeId, cell);
  await writeEdge(edge, known?.version ?? 0);
  await evaluateWaits(cell, now); // heartbeats too: an edge that fell silent no longer holds a wait up
});
