/** Failover's write: under the accelerator's lease, it decides again from the current state and writes the changes. */
import { writeChange } from "../aws/accelerator.ts";
import { holdLease, releaseLease, takeLease } from "../aws/ledger/leases.ts";
import { logger } from "../aws/logger.ts";
import { evaluateFailover } from "../control/failover/evaluate.ts";
import { assertChange } from "../core/assert.ts";
import { LeaseHeldError } from "../core/errors.ts";
import { uncertain, written } from "../core/failover/plan.ts";
import { acceleratorLimits } from "../schemas/limits.ts";
import { FailoverInput } from "../schemas/workflows.ts";
import { handler as shell } from "./shell/handler.ts";

const { leaseMs } = acceleratorLimits;

export const handler = shell(FailoverInput, async ({ cell: name }, { awsRequestId }) => {
  const lease = await takeLease(`accelerator#${name}`, awsRequestId, leaseMs, Date.now());
  if (lease === undefined) throw new LeaseHeldError(`another execution is writing the accelerator of ${name}`);
  try {
    const { cell, changes, held, observed, gone } = await evaluateFailover(name);
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
        logger.info("accelerator written", { change });
      } catch (error) {
        failures.push(error); // a group that can't be written must not delay withdrawals in other groups
      }
    }
    if (failures.length > 0) throw failures[0];
    return { cell: name, written: changes.length, held };
  } finally {
    await releaseLease(lease);
  }
});
