/** An edge's word: what it serves, or why not. Ends the waits that it satisfies, and tells failover when it is ready. */
import { putEvents } from "../aws/events.ts";
import { readEdge, writeEdge } from "../aws/ledger/edges.ts";
import { isReady, mergeReport } from "../core/rollout/acks.ts";
import { detailTypes, EdgeReport, envelope } from "../schemas/events.ts";
import { evaluateWaits } from "./shell/acks.ts";
import { logger, handler as shell } from "./shell/handler.ts";

export const handler = shell(envelope(EdgeReport), async ({ detail }) => {
  const { cell, region, edgeId } = detail;
  const now = Date.now();
  const known = await readEdge(cell, edgeId);
  const { structure: _, ...facts } = detail;
  const edge = mergeReport(known?.edge, facts, now);
  await writeEdge(edge, known?.version ?? 0);
  await evaluateWaits(cell, now); // heartbeats too: an edge that fell silent no longer holds a wait up
  const ready = isReady(edge);
  if (ready !== (known !== undefined && isReady(known.edge))) {
    logger.info("edge readiness changed", { edgeId, region, ready });
    await putEvents([{ detailType: detailTypes.edgeReadiness, detail: { cell, region, edgeId, ready } }]);
  }
});
