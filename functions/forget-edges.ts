/** Forgets silent edges whose instances are terminated, once the accelerator no longer has them. */
import { observeAccelerator } from "../aws/accelerator.ts";
import { isTerminated } from "../aws/compute.ts";
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
import { actionOnSilentEdge, isSilent } from "../core/edges/forget.ts";
import { PublishInput } from "../schemas/workflows.ts";
import { handler as shell } from "./shell/handler.ts";

export const handler = shell(PublishInput, async ({ cell: name }) => {
  const { fleet } = await loadSettings();
  const now = Date.now();
  const silent = [...(await readStored(name)).values()].filter(({ summary }) => isSilent(summary, now));
  if (silent.length === 0) return { cell: name, forgotten: 0 };
  const { groups } = await observeAccelerator(cellOf(fleet, name).listenerArn);
  const attached = new Set(groups.flatMap(({ endpoints }) => endpoints.map(({ edgeId }) => edgeId)));
  let forgotten = 0;
  for (const edge of silent) {
    const { edgeId, region, terminated } = edge.summary;
    const isGone = terminated === true || (await isTerminated(region, edgeId));
    const action = actionOnSilentEdge(isGone, attached.has(edgeId));
    if (action === "mark") await markTerminated(edge);
    if (action === "forget") {
      await forget(edge);
      forgotten++;
    }
  }
  return { cell: name, forgotten };
});

/** The edge takes no users any more. It still counts until it is forgotten. */
async function markTerminated({ summary, version }: StoredSummary): Promise<void> {
  if (summary.terminated === true) return;
  await writeSummaries(summary.cell, [{ summary: { ...summary, terminated: true }, version }]);
}

/** The report goes first: as long as the edge's details are there, a failed attempt is repeated. */
async function forget(edge: StoredSummary): Promise<void> {
  const { edgeId, cell } = edge.summary;
  const detail = (await readDetails([edgeId])).get(edgeId)?.detail;
  for (const { tenantId } of detail?.rejectedRoutes ?? []) await removeRefusal(tenantId, edgeId);
  if (detail !== undefined) await deleteReport(detail.writer);
  await forgetEdge(edge);
  logger.info("edge forgotten", { cell, edgeId });
}
