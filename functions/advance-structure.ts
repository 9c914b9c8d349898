/**
 * One evaluation of a cell's structure: begins, advances or returns its staged rollout. The publisher carries it out.
 * Reconcile begins with it, so that it also announces settings that are invalid.
 */
import { readCell, saveStructure } from "../aws/ledger/cells.ts";
import { readEdges } from "../aws/ledger/edges.ts";
import { readSignals } from "../aws/ledger/signals.ts";
import { logger } from "../aws/logger.ts";
import { loadSettings } from "../aws/settings.ts";
import { announceInvalid } from "../control/settings.ts";
import { advanceStructure } from "../core/publishing/structure.ts";
import { PublishInput } from "../schemas/workflows.ts";
import { handler as shell } from "./shell/handler.ts";

export const handler = shell(PublishInput, async ({ cell }) => {
  const { fleet, structures, frozen, invalid } = await loadSettings();
  await announceInvalid(invalid);
  const [{ commit, structure, halt }, edges, signals] = await Promise.all([
    readCell(cell),
    readEdges(cell),
    readSignals(cell),
  ]);
  const wanted = structures[cell];
  if (frozen || halt !== undefined || commit === undefined || wanted === undefined)
    return { cell, stage: structure?.state.stage ?? "none" };
  const next = advanceStructure({
    wanted,
    live: commit.structure,
    generation: commit.generation,
    state: structure?.state,
    edges,
    degraded: signals.flatMap(({ edgeId, health }) => (edgeId !== undefined && health === "degraded" ? [edgeId] : [])),
    bakeMs: fleet.structureBakeSeconds * 1000,
    now: Date.now(),
  });
  if (next !== undefined && (await saveStructure(cell, next, structure?.version ?? 0)))
    logger.info("structure stage changed", { cell, stage: next.stage, target: next.target, reason: next.reason });
  return { cell, stage: (next ?? structure?.state)?.stage ?? "none" };
});
