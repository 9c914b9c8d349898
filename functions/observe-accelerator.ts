/** Failover's first step: takes a health event down, if there is one, and says how far the accelerator is from desired. */
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
 * When a signal was seen: by its own word, but not later than the bus took it in (which has whole seconds, and is the same
 * for a duplicate) nor than now. A clock that runs ahead must not silence everything that is said after it.
 */
function seenAt(own: number | undefined, bus: number, now: number): number {
  if (!Number.isFinite(bus)) return Math.min(own ?? now, now);
  return Math.min(own ?? bus, bus + 999, now);
}
