/**
 * Forgets edges whose instances are terminated, once the accelerator no longer has them. Replaces edges that run and are
 * silent for long.
 */
import { observeGroups } from "../aws/accelerator.ts";
import { isTerminated, terminateInstance } from "../aws/compute.ts";
import {
  deleteReport,
  forgetEdge,
  readDetails,
  readStored,
  type StoredSummary,
  writeSummaries,
} from "../aws/ledger/edges.ts";
import { removeRefusal } from "../aws/ledger/status.ts";
import { logger } from "../aws/logger.ts";
import { cellOf, loadSettings } from "../aws/settings.ts";
import { actionOnSilentEdge, isSilent, unheardEdge, unknownEndpoints } from "../core/edges/forget.ts";
import { PublishInput } from "../schemas/workflows.ts";
import { handler as shell } from "./shell/handler.ts";

export const handler = shell(PublishInput, async ({ cell: name }) => {
  const { fleet, mode, frozen } = await loadSettings();
  const now = Date.now();
  const stored = [...(await readStored(name)).values()];
  const silent = stored.filter(({ summary }) => isSilent(summary, now));
  const edges = stored.map(({ summary }) => summary);
  const groups = await observeGroups(cellOf(fleet, name).listenerArn);
  await markUnknown(name, unknownEndpoints(groups, edges));
  const endpoints = groups.flatMap((group) => group.endpoints);
  const attached = new Set(endpoints.map(({ edgeId }) => edgeId));
  const takesUsers = endpoints.filter(({ health, weight }) => health === "HEALTHY" && weight > 0);
  const serving = new Set(takesUsers.map(({ edgeId }) => edgeId));
  let forgotten = 0;
  for (const edge of silent) {
    const { edgeId, region, terminated } = edge.summary;
    const isGone = terminated === true || (await isTerminated(region, edgeId));
    const facts = { edge: edge.summary, edges, attached, serving, isTerminated: isGone, now };
    const action = actionOnSilentEdge(facts);
    if (action !== "counts") logger.info("edge is silent", { cell: name, edgeId, action });
    if (action === "mark") await mark(edge, "terminated");
    if (action === "forget") {
      await forget(edge);
      forgotten++;
    }
    if (mode !== "enforce" || frozen) continue;
    if (action === "terminate") await terminateInstance(region, edgeId);
    if (action === "give up") {
      await mark(edge, "givenUp");
      break; // one at a time
    }
  }
  return { cell: name, forgotten };
});

/**
 * A restored ledger may not know an edge that the accelerator has. What it serves must not be freed before it has reported. If
 * its instance is terminated, AWS refuses every list with it.
 */
async function markUnknown(cell: string, unknown: { edgeId: string; region: string }[]): Promise<void> {
  for (const { edgeId, region } of unknown) {
    const state = { isTerminated: await isTerminated(region, edgeId), now: Date.now() };
    logger.warn("the accelerator has an edge that the ledger does not know", { cell, edgeId, ...state });
    await writeSummaries(cell, [{ summary: unheardEdge({ edgeId, cell, region }, state), version: 0 }]);
  }
}

/** Failover removes a marked edge from the accelerator. It still counts until it is forgotten. */
async function mark({ summary, version }: StoredSummary, as: "terminated" | "givenUp"): Promise<void> {
  if (summary[as] === true) return;
  await writeSummaries(summary.cell, [{ summary: { ...summary, [as]: true }, version }]);
}

/** The report goes first: as long as the edge's details are there, a failed attempt is repeated. */
async function forget(edge: StoredSummary): Promise<void> {
  const { edgeId } = edge.summary;
  const detail = (await readDetails([edgeId])).get(edgeId)?.detail;
  for (const { tenantId } of detail?.rejectedRoutes ?? []) await removeRefusal(tenantId, edgeId);
  if (detail !== undefined) await deleteReport(detail.writer);
  await forgetEdge(edge);
}
