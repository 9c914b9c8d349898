/** Failover's write: under the accelerator's lease, it decides again from the current state and writes the changes. */
import { writeChange, writeRepair } from "../aws/accelerator.ts";
import { isTerminated } from "../aws/compute.ts";
import { recordInstance, saveRecord, saveState } from "../aws/ledger/failover.ts";
import { holdLease, type Lease, releaseLease, takeLease } from "../aws/ledger/leases.ts";
import { logger } from "../aws/logger.ts";
import { evaluateFailover } from "../control/failover/evaluate.ts";
import { assertChange } from "../core/assert.ts";
import { LeaseHeldError } from "../core/errors.ts";
import { type Change, refusedEndpoint, uncertain, written } from "../core/failover/changes.ts";
import type { Repair } from "../core/failover/drift.ts";
import { type DecisionRecord, recordOf } from "../core/failover/record.ts";
import { acceleratorLimits } from "../schemas/limits.ts";
import { PublishInput } from "../schemas/workflows.ts";
import { handler as shell } from "./shell/handler.ts";

const { leaseMs, triesMax } = acceleratorLimits;

export const handler = shell(PublishInput, async ({ cell }, { awsRequestId }) => {
  const lease = await takeLease(`accelerator#${cell}`, awsRequestId, leaseMs, Date.now());
  if (lease === undefined) throw new LeaseHeldError(`another execution is writing the accelerator of ${cell}`);
  try {
    for (let tries = 1; ; tries++) {
      const { failures, refused, ...done } = await applyOnce(cell, lease);
      if (failures.length === 0) return { cell, ...done };
      if (!refused || tries === triesMax) throw failures[0];
    }
  } finally {
    await releaseLease(lease);
  }
});

/** `refused` is true if AWS named an endpoint that the next try leaves out. */
async function applyOnce(name: string, lease: Lease) {
  const { cell, mode, now: at, observed, pins, state, decision } = await evaluateFailover(name);
  const { changes, repairs, unwritten, held, isNews, beliefs } = decision;
  if (isNews || changes.length > 0) await saveState(name, decision.state, lease);
  const gone = new Set(beliefs.filter((edge) => edge.gone).map(({ edgeId }) => edgeId));
  const done: DecisionRecord["changes"] = [];
  const failures: unknown[] = [];
  const hold = async () => {
    if (!(await holdLease(lease, leaseMs, Date.now()))) throw new LeaseHeldError(`lost the lease of ${name}`);
  };
  let refused = false;
  let shown = observed;
  for (const change of changes) {
    await hold();
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
      refused = (await noteRefused(name, change, error, at)) || refused;
    }
  }
  const repaired: Repair[] = [];
  for (const repair of repairs) {
    await hold();
    try {
      await writeRepair(cell, repair);
      repaired.push(repair);
      logger.info("accelerator repaired", { repair });
    } catch (error) {
      failures.push(error);
    }
  }
  // Of what is held, only news is recorded: the same hold is seen at every look.
  const isRecorded = done.length + repaired.length > 0 || decision.state.held !== state.held;
  const facts = { cell: name, at, mode, observed, pins };
  if (isRecorded) await saveRecord(recordOf(facts, decision, [...done, ...unwritten], repaired));
  return { written: done.length, held, failures, refused };
}

/**
 * AWS refuses a whole list for one endpoint in it that is terminated, or that is no instance and gone. Such an endpoint is
 * taken for gone, so that the next try leaves it out. An instance that runs is never taken for gone.
 */
async function noteRefused(cell: string, change: Change, error: unknown, at: number): Promise<boolean> {
  const edgeId = refusedEndpoint(change, error);
  if (edgeId === undefined) return false;
  if (edgeId.startsWith("i-") && !(await isTerminated(change.region, edgeId))) return false;
  logger.warn("AWS refuses an endpoint", { cell, region: change.region, edgeId });
  await recordInstance(cell, { edgeId, state: edgeId.startsWith("i-") ? "terminated" : "refused", at });
  return true;
}
