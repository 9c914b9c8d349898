/** Writes what became of a batch into each tenant's status, and says so on the bus. */
import { type ControlEvent, putEvents } from "../aws/events.ts";
import { type Batch, type Coverage, type Outcome, readBatch, readCoverage } from "../aws/ledger/batches.ts";
import { readEdges, removeWait } from "../aws/ledger/edges.ts";
import { type TenantStatus, writeStatus } from "../aws/ledger/status.ts";
import { evaluateWait, type WaitOutcome } from "../core/rollout/acks.ts";
import { regionsOf, servedBy } from "../core/rollout/settle.ts";
import { detailTypes } from "../schemas/events.ts";
import { SettleInput } from "../schemas/workflows.ts";
import { logger, handler as shell } from "./shell/handler.ts";

export const handler = shell(SettleInput, async ({ batchId }) => {
  const batch = await readBatch(batchId);
  const outcomes = batch.outcomes ?? [];
  const events: ControlEvent[] = [];
  for (const [cell, tenants] of Map.groupBy(outcomes, (outcome) => outcome.cell)) {
    await removeWait(cell, batchId);
    const covered = (await readCoverage(cell, [batchId])).get(batchId);
    const wait =
      covered === undefined ? undefined : evaluateWait(covered.generation, await readEdges(cell), Date.now());
    for (const outcome of tenants) {
      if (outcome.changed && (outcome.state === "Rejected" || outcome.state === "Pending"))
        events.push(rejected(outcome));
      if (covered === undefined || wait === undefined || !isServable(outcome)) continue;
      const status = statusOf(batch, outcome, covered, wait);
      await writeStatus(outcome.tenantId, status);
      if (outcome.changed) events.push(settled(outcome, status));
    }
  }
  await putEvents(events);
  logger.info("rollout settled", { batchId, tenants: outcomes.length, events: events.length });
});

const isServable = ({ state }: Outcome) => state === "Admitted" || state === "Suspended" || state === "Removed";

function statusOf(batch: Batch, outcome: Outcome, covered: Coverage, wait: WaitOutcome): TenantStatus {
  return {
    observedGeneration: outcome.generation,
    snapshotGeneration: covered.generation,
    served: servedBy(wait),
    regions: regionsOf(wait.served),
    missing: wait.missing.map(({ edgeId, region, reason }) => `${edgeId} (${region}): ${reason}`),
    startedAt: batch.startedAt,
    committedAt: covered.committedAt,
    settledAt: Date.now(),
  };
}

function rejected({ tenantId, generation, reasons, state }: Outcome): ControlEvent {
  return { detailType: detailTypes.tenantRejected, detail: { tenantId, generation, state, reasons: reasons ?? [] } };
}

function settled({ tenantId, generation, state }: Outcome, { served, regions, missing }: TenantStatus): ControlEvent {
  if (state === "Removed") return { detailType: detailTypes.tenantRemoved, detail: { tenantId, generation } };
  return { detailType: detailTypes.tenantServed, detail: { tenantId, generation, served, regions, missing } };
}
