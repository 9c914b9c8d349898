import { observeAccelerator } from "../../aws/accelerator.ts";
import { readEdges, readSignals } from "../../aws/ledger/edges.ts";
import { cellOf, loadSettings } from "../../aws/settings.ts";
import { degradedRegions, edgeFacts } from "../../core/failover/facts.ts";
import { changesBetween, planAccelerator } from "../../core/failover/plan.ts";

/** Reads everything that failover decides on, and decides: what there is to change now, and what is held back. In monitor mode, and while frozen, that is everything. */
export async function evaluateFailover(cellName: string) {
  const { fleet, mode, frozen } = await loadSettings();
  const cell = cellOf(fleet, cellName);
  const [observed, edges, signals] = await Promise.all([
    observeAccelerator(cell.listenerArn),
    readEdges(cellName),
    readSignals(cellName),
  ]);
  const desired = planAccelerator(edgeFacts(edges, signals, Date.now()), degradedRegions(signals), observed);
  const changes = changesBetween(desired, observed);
  if (mode === "enforce" && !frozen) return { cell, changes, held: desired.held };
  const why = frozen ? "frozen" : "monitor mode";
  return {
    cell,
    changes: [],
    held: [...desired.held, ...changes.map((change) => `${why}: ${JSON.stringify(change)}`)],
  };
}
