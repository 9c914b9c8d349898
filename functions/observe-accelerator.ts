/**
 * Failover's first step: stores what an event says, if there is one, and tells what comes next: to apply what is decided, to
 * wait and look again while something is not as it should be, or to end.
 */
import { readDetails } from "../aws/ledger/edges.ts";
import { recordInstance, takeWatch } from "../aws/ledger/failover.ts";
import { recordSignal } from "../aws/ledger/signals.ts";
import { logger } from "../aws/logger.ts";
import { evaluateFailover } from "../control/failover/evaluate.ts";
import { signalAt } from "../core/failover/beliefs.ts";
import { failoverLimits } from "../schemas/limits.ts";
import { FailoverInput } from "../schemas/workflows.ts";
import { handler as shell } from "./shell/handler.ts";

const { lookMs, watchMs } = failoverLimits;

export const handler = shell(FailoverInput, async ({ cell: named, signal, instance, at, watcher, since }) => {
  const cell = instance === undefined ? named : await cellOfInstance(instance["instance-id"]);
  if (cell === undefined) return { go: "end" }; // an instance that is no edge
  if (instance !== undefined) {
    const state = instance.state ?? `Spot takes it: ${instance["instance-action"]}`;
    await recordInstance(cell, {
      edgeId: instance["instance-id"],
      state,
      at: signalAt(undefined, Date.parse(at ?? ""), Date.now()),
    });
    logger.info("instance event", { cell, ...instance });
  }
  if (signal !== undefined) {
    await recordSignal({ ...signal, at: signalAt(signal.at, Date.parse(at ?? ""), Date.now()) });
    logger.info("health signal", { ...signal });
  }
  const { now, decision } = await evaluateFailover(cell);
  const { changes, held, isDue, dueAt } = decision;
  if (held.length > 0) logger.warn("held back", { cell, held });
  const isOver = since !== undefined && now - Date.parse(since) >= watchMs;
  const base = { cell, changes: changes.length, held };
  if (isOver) return { ...base, go: "end" };
  if (isDue) return { ...base, go: "apply" };
  if (dueAt === undefined || since === undefined) return { ...base, go: "end" };
  // Events come in storms: only one of their executions watches. Reconcile's, one a minute, always does.
  const watches = watcher === undefined || (await takeWatch(cell, watcher, since));
  const again = Math.max(1, Math.ceil(Math.min(dueAt - now, lookMs) / 1000));
  return watches ? { ...base, go: "wait", again } : { ...base, go: "end" };
});

async function cellOfInstance(id: string): Promise<string | undefined> {
  return (await readDetails([id])).get(id)?.detail.cell;
}
