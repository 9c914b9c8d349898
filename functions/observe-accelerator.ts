/** Failover's first step: stores a health event, if there is one, and counts the changes that the accelerator needs. */
import { recordSignal } from "../aws/ledger/signals.ts";
import { logger } from "../aws/logger.ts";
import { evaluateFailover } from "../control/failover/evaluate.ts";
import { signalAt } from "../core/failover/facts.ts";
import { FailoverInput } from "../schemas/workflows.ts";
import { handler as shell } from "./shell/handler.ts";

export const handler = shell(FailoverInput, async ({ cell, signal, at }) => {
  if (signal !== undefined) {
    await recordSignal({ ...signal, at: signalAt(signal.at, Date.parse(at ?? ""), Date.now()) });
    logger.info("health signal", { ...signal });
  }
  const { changes, held } = await evaluateFailover(cell);
  if (held.length > 0) logger.warn("held back", { cell, held });
  return { cell, changes: changes.length, held };
});
