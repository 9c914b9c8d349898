import { observeAccelerator } from "../../aws/accelerator.ts";
import { readSummaries } from "../../aws/ledger/edges.ts";
import { readSignals } from "../../aws/ledger/signals.ts";
import { cellOf, loadSettings } from "../../aws/settings.ts";
import { isGone } from "../../core/edges/edge.ts";
import { degradedRegions, edgeFacts } from "../../core/failover/facts.ts";
import { changesBetween, planAccelerator } from "../../core/failover/plan.ts";

/**
 * Reads the input of failover and decides which changes to write now and which to hold back, with reasons. In monitor
 * mode and while frozen, every change is held back.
 */
export async function evaluateFailover(cellName: string) {
  const { fleet, mode, frozen } = await loadSettings();
  const cell = cellOf(fleet, cellName);
  const [observed, edges, signals] = await Promise.all([
    observeAccelerator(cell.listenerArn),
    readSummaries(cellName),
    readSignals(cellName),
  ]);
  const desired = planAccelerator(edgeFacts(edges, signals, Date.now()), degradedRegions(signals), observed);
  const changes = changesBetween(desired, observed);
  const gone = new Set(edges.filter(isGone).map(({ edgeId }) => edgeId));
  const base = { cell, observed, gone };
  if (mode === "enforce" && !frozen) return { ...base, changes, held: desired.held };
  const why = frozen ? "frozen" : "monitor mode";
  const held = [...desired.held, ...changes.map((change) => `${why}: ${JSON.stringify(change)}`)];
  return { ...base, changes: [], held };
}
