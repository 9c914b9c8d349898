/** Failover's write: under the accelerator's lease, it decides again from the current state and writes the changes. */
import { writeChange } from "../aws/accelerator.ts";
import { saveRecord, saveState } from "../aws/ledger/failover.ts";
import { holdLease, releaseLease, takeLease } from "../aws/ledger/leases.ts";
import { logger } from "../aws/logger.ts";
import { evaluateFailover } from "../control/failover/evaluate.ts";
import { assertChange } from "../core/assert.ts";
import { LeaseHeldError } from "../core/errors.ts";
import { uncertain, written } from "../core/failover/changes.ts";
import { type DecisionRecord, recordOf } from "../core/failover/record.ts";
import { acceleratorLimits } from "../schemas/limits.ts";
import { FailoverInput } from "../schemas/workflows.ts";
import { handler as shell } from "./shell/handler.ts";

const { leaseMs } = acceleratorLimits;

export const handler = shell(FailoverInput, async ({ cell: name }, { awsRequestId }) => {
  const lease = await takeLease(`accelerator#${name}`, awsRequestId, leaseMs, Date.now());
  if (lease === undefined) throw new LeaseHeldError(`another execution is writing the accelerator of ${name}`);
  try {
    const { cell, mode, now: at, observed, pins, state, decision } = await evaluateFailover(name);
    const { changes, unwritten, held, isNews, beliefs } = decision;
    const wasHeld = state.held;
    if (isNews || changes.length > 0) await saveState(name, decision.state, lease);
    const gone = new Set(beliefs.filter((edge) => edge.gone).map(({ edgeId }) => edgeId));
    const done: DecisionRecord["changes"] = [];
    const failures: unknown[] = [];
    let shown = observed;
    for (const change of changes) {
      if (!(await holdLease(lease, leaseMs, Date.now()))) throw new LeaseHeldError(`lost the lease of ${name}`);
      const before = shown;
      try {
        assertChange(change, before, gone); // fails if a write failed that was to take the users of this group
        shown = uncertain(before, change); // until the answer comes
        await writeChange(cell, change, `${name}-${change.region}-${lease.epoch}`);
        shown = written(before, change);
        done.push(change);
        logger.info("accelerator written", { change });
      } catch (error) {
        failures.push(error); // a group that can't be written must not delay withdrawals in other groups
        done.push({ ...change, failed: error instanceof Error ? error.message : String(error) });
      }
    }
    // Of what is held, only news is recorded: the same hold is seen at every look.
    const isRecorded = done.length > 0 || decision.state.held !== wasHeld;
    const facts = { cell: name, at, mode, observed, pins };
    if (isRecorded) await saveRecord(recordOf(facts, decision, [...done, ...unwritten]));
    if (failures.length > 0) throw failures[0];
    return { cell: name, written: done.length, held };
  } finally {
    await releaseLease(lease);
  }
});
