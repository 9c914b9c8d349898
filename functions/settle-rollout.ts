/** Writes what became of a batch into each tenant's status, and says so on the bus, once a generation or a little more. */
import { type ControlEvent, putEvents } from "../aws/events.ts";
import { readTenantRow } from "../aws/ledger/admission.ts";
import { type Batch, type Coverage, type Outcome, readBatch, readCoverage } from "../aws/ledger/batches.ts";
import { readEdges, removeWait } from "../aws/ledger/edges.ts";
import { markAnnounced, readAnnounced, type TenantStatus, writeStatus } from "../aws/ledger/status.ts";
import { NotCoveredError } from "../core/errors.ts";
import { evaluateWait, forTenant, type WaitOutcome } from "../core/rollout/acks.ts";
import { regionsOf, servedBy } from "../core/rollout/settle.ts";
import { detailTypes } from "../schemas/events.ts";
import { SettleInput } from "../schemas/workflows.ts";
import { logger, handler as shell } from "./shell/handler.ts";
import { inParallel } from "./shell/parallel.ts";

export const handler = shell(SettleInput, async ({ batchId }) => {
  const batch = await readBatch(batchId);
  const news: { outcome: Outcome; event: ControlEvent }[] = [];
  for (const [cell, tenants] of Map.groupBy(batch.outcomes ?? [], (outcome) => outcome.cell)) {
    await removeWait(cell, batchId);
    const covered = (await readCoverage(cell, [batchId])).get(batchId);
    if (covered === undefined && tenants.some(isServable))
      throw new NotCoveredError(`batch ${batchId} is in no commit of cell ${cell} yet`);
    const edges = await readEdges(cell);
    const wait = covered && evaluateWait(covered.generation, edges, Date.now());
    const events = await inParallel(tenants, async (outcome) => {
      const status =
        covered && wait && isServable(outcome)
          ? statusOf(batch, outcome, covered, forTenant(wait, edges, outcome.tenantId))
          : undefined;
      if (status !== undefined) await writeStatus(outcome.tenantId, status);
      if ((await readAnnounced(outcome.tenantId)) >= outcome.generation) return [];
      const event = status === undefined || isRefused(outcome) ? await refusal(outcome) : settled(outcome, status);
      return event === undefined ? [] : [{ outcome, event }];
    });
    news.push(...events.flat());
  }
  // Said before it is noted: a settle that dies in between says it twice, never not at all.
  await putEvents(news.map(({ event }) => event));
  await inParallel(news, ({ outcome: { tenantId, generation } }) => markAnnounced(tenantId, generation));
  logger.info("rollout settled", { batchId, tenants: batch.outcomes?.length ?? 0, events: news.length });
});

const isRefused = ({ state }: Outcome) => state === "Rejected" || state === "Pending";
/** Something of it is, or was, on the edges. */
const isServable = (outcome: Outcome) =>
  outcome.state !== "none" && (!isRefused(outcome) || outcome.admitted !== undefined);

function statusOf(batch: Batch, outcome: Outcome, covered: Coverage, wait: WaitOutcome): TenantStatus {
  return {
    observedGeneration: isRefused(outcome) ? (outcome.admitted ?? 0) : outcome.generation,
    snapshotGeneration: covered.generation,
    served: servedBy(wait),
    regions: regionsOf(wait.served),
    missing: wait.missing.map(({ edgeId, region, reason }) => `${edgeId} (${region}): ${reason}`),
    startedAt: batch.startedAt,
    committedAt: covered.committedAt,
    settledAt: Date.now(),
  };
}

/** Reasons are the row's: a batch of a thousand tenants has no room for them. */
async function refusal(outcome: Outcome): Promise<ControlEvent | undefined> {
  if (!isRefused(outcome)) return undefined;
  const { tenantId, generation, state } = outcome;
  const row = await readTenantRow(tenantId);
  const reasons = row?.generation === generation ? row.reasons : [];
  return { detailType: detailTypes.tenantRejected, detail: { tenantId, generation, state, reasons } };
}

function settled({ tenantId, generation, state }: Outcome, { served, regions, missing }: TenantStatus): ControlEvent {
  if (state === "Removed") return { detailType: detailTypes.tenantRemoved, detail: { tenantId, generation } };
  return { detailType: detailTypes.tenantServed, detail: { tenantId, generation, served, regions, missing } };
}
