/** Edges that fell silent and whose instances are terminated cease to count, once the accelerator is without them. */
import { observeAccelerator } from "../aws/accelerator.ts";
import { isTerminated } from "../aws/compute.ts";
import { deleteEdge, markTerminated, readEdges } from "../aws/ledger/edges.ts";
import { removeRefusal } from "../aws/ledger/status.ts";
import { cellOf, loadSettings } from "../aws/settings.ts";
import { PublishInput } from "../schemas/workflows.ts";
import { logger, handler as shell } from "./shell/handler.ts";

/** Six reports missed. */
const silentMs = 60_000;

export const handler = shell(PublishInput, async ({ cell: name }) => {
  const { fleet } = await loadSettings();
  const now = Date.now();
  const silent = (await readEdges(name)).filter(({ reportedAt }) => now - reportedAt > silentMs);
  if (silent.length === 0) return { cell: name, forgotten: 0 };
  const { groups } = await observeAccelerator(cellOf(fleet, name).listenerArn);
  const attached = new Set(groups.flatMap(({ endpoints }) => endpoints.map(({ edgeId }) => edgeId)));
  let forgotten = 0;
  for (const edge of silent) {
    if (edge.terminated !== true && !(await isTerminated(edge.region, edge.edgeId))) continue;
    if (attached.has(edge.edgeId)) {
      await markTerminated(name, edge.edgeId); // failover takes it out
      continue;
    }
    for (const { tenantId } of edge.rejectedRoutes) await removeRefusal(tenantId, edge.edgeId);
    await deleteEdge(name, edge.edgeId);
    logger.info("edge forgotten", { cell: name, edgeId: edge.edgeId });
    forgotten++;
  }
  return { cell: name, forgotten };
});
