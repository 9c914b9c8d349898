/** Failover's first step: stores a health event, if there is one, and counts the changes that the accelerator needs. */
import { recordSignal } from "../aws/ledger/signals.ts";
import { logger } from "../aws/logger.ts";
import { evaluateFailover } from "../control/failover/evaluate.ts";
import { FailoverInput } from "../schemas/workflows.ts";
import { handler as shell } from "./shell/handler.ts";

export const handler = shell(FailoverInput, async ({ cell, signal, at }) => {
  if (signal !== undefined) {
    await recordSignal({ ...signal, at: seenAt(signal.at, Date.parse(at ?? ""), Date.now()) });
    logger.info("health signal", { ...signal });
  }
  const { changes, held } = await evaluateFailover(cell);
  if (held.length > 0) logger.warn("held back", { cell, held });
  return { cell, changes: changes.length, held };
});

/**
 * When a signal was observed: its own time, but not later than the bus received it and not later than now. The bus's
 * time has whole seconds and is the same for a duplicate. A clock that runs ahead must not suppress all later signals.
 */
function seenAt(own: number | undefined, bus: number, now: number): number {
  if (!Number.isFinite(bus)) return Math.min(own ?? now, now);
  return Math.min(own ?? bus, bus + 999, now);
}
