/** Forgets silent edges whose instances are terminated, once the accelerator no longer has them. */
import { observeAccelerator } from "../aws/accelerator.ts";
import { isTerminated } from "../aws/compute.ts";
import { deleteEdge, markTerminated, readEdges } from "../aws/ledger/edges.ts";
import { removeRefusal } from "../aws/ledger/status.ts";
import { logger } from "../aws/logger.ts";
import { cellOf, loadSettings } from "../aws/settings.ts";
import { actionOnSilentEdge, silentEdges } from "../core/edges/forget.ts";
import { PublishInput } from "../schemas/workflows.ts";
import { handler as shell } from "./shell/handler.ts";

export const handler = shell(PublishInput, async ({ cell: name }) => {
  const { fleet } = await loadSettings();
  const silent = silentEdges(await readEdges(name), Date.now());
  if (silent.length === 0) return { cell: name, forgotten: 0 };
  const { groups } = await observeAccelerator(cellOf(fleet, name).listenerArn);
  const attached = new Set(groups.flatMap(({ endpoints }) => endpoints.map(({ edgeId }) => edgeId)));
  let forgotten = 0;
  for (const edge of silent) {
    const terminated = edge.terminated === true || (await isTerminated(edge.region, edge.edgeId));
    const action = actionOnSilentEdge(terminated, attached.has(edge.edgeId));
    if (action === "mark") await markTerminated(name, edge.edgeId);
    if (action !== "forget") continue;
    for (const { tenantId } of edge.rejectedRoutes) await removeRefusal(tenantId, edge.edgeId);
    await deleteEdge(name, edge.edgeId);
    logger.info("edge forgotten", { cell: name, edgeId: edge.edgeId });
    forgotten++;
  }
  return { cell: name, forgotten };
});
