import { observeAccelerator } from "../../aws/accelerator.ts";
import { readSummaries } from "../../aws/ledger/edges.ts";
import { readFailover } from "../../aws/ledger/failover.ts";
import { readSignals } from "../../aws/ledger/signals.ts";
import { cellOf, loadSettings } from "../../aws/settings.ts";
import { decide, type Facts, firstState, type Mode } from "../../core/failover/decide.ts";
import type { Cell } from "../../schemas/fleet.ts";

/** What failover decides from, as it is now. */
export async function readFacts(cellName: string): Promise<{ cell: Cell; facts: Facts }> {
  const now = Date.now();
  const { fleet, mode: wanted, frozen } = await loadSettings();
  const cell: Cell = cellOf(fleet, cellName);
  const [observed, edges, signals, { state = firstState, pins: all, instances }] = await Promise.all([
    observeAccelerator(cell),
    readSummaries(cellName),
    readSignals(cellName),
    readFailover(cellName),
  ]);
  const pins = all.filter(({ until }) => now < until);
  const { soakSeconds, withdrawalsPerHourMax, repair } = fleet.failover;
  const mode: Mode = frozen ? "frozen" : wanted;
  const rules = { mode, repair, soakSeconds, withdrawalsMax: withdrawalsPerHourMax };
  return { cell, facts: { edges, signals, instances, observed, cell, ...rules, state, pins, now } };
}

/**
 * Reads the input of failover and decides. In monitor mode and while frozen, nothing is to be written; the decision says what
 * would be.
 */
export async function evaluateFailover(cellName: string) {
  const { cell, facts } = await readFacts(cellName);
  const { mode, now, observed, pins, state } = facts;
  return { cell, mode, now, observed, pins, state, decision: decide(facts) };
}
