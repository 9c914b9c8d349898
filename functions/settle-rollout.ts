/**
 * Writes a batch's result to each tenant's status and sends it on the bus: once per generation, again when all edges serve
 * what only some did, and rarely twice. `lacking` counts what the batch still waits for: edges, and tenants that the gate
 * withholds.
 */
import { putEvents } from "../aws/events.ts";
import { readTenantRow } from "../aws/ledger/admission.ts";
import { type Coverage, readBatch, readCoverage, saveAcks } from "../aws/ledger/batches.ts";
import { readCell } from "../aws/ledger/cells.ts";
import { readSummaries, withDetails } from "../aws/ledger/edges.ts";
import { readAnnounced, saveAnnounced, type TenantStatus, writeStatuses } from "../aws/ledger/status.ts";
import { removeWait } from "../aws/ledger/waits.ts";
import { logger } from "../aws/logger.ts";
import { inParallel } from "../aws/parallel.ts";
import { NotCoveredError } from "../core/errors.ts";
import { whyWithheld } from "../core/publishing/plan.ts";
import type { Batch, Outcome } from "../core/rollout/batch.ts";
import { type Announced, isNews, regionsServed, servedBy } from "../core/rollout/settle.ts";
import { acksOf, evaluateEvery, evaluateWait, forTenant, lackingOf, type WaitOutcome } from "../core/rollout/waits.ts";
import { type ControlEvent, detailTypes } from "../schemas/events.ts";
import { SettleInput } from "../schemas/workflows.ts";
import { handler as shell } from "./shell/handler.ts";

interface News {
  tenantId: string;
  announced: Announced;
  event: ControlEvent;
}

export const handler = shell(SettleInput, async ({ batchId }) => {
  const batch = await readBatch(batchId);
  const [served, refused] = partition(batch.outcomes ?? [], isServable);
  await announce(refused.map((outcome) => ({ outcome })));
  let lacking = 0;
  for (const [cell, tenants] of Map.groupBy(served, (outcome) => outcome.cell)) {
    await removeWait(cell, batchId);
    const covered = (await readCoverage(cell, [batchId])).get(batchId);
    if (covered === undefined) throw new NotCoveredError(`batch ${batchId} is in no commit of cell ${cell} yet`);
    const [edges, { withheld }] = await Promise.all([readSummaries(cell), readCell(cell)]);
    const refusing = await withDetails(edges.filter(({ refuses }) => refuses > 0));
    const wait = evaluateWait(covered.generation, edges, Date.now());
    lacking += lackingOf(wait, edges) + tenants.filter(({ tenantId }) => whyWithheld(withheld, tenantId)).length;
    await saveAcks(cell, batchId, acksOf(covered.generation, edges));
    // Backends are stopped after a removal event, so that silent edges count here: they may still serve.
    const gone = evaluateEvery(covered.generation, edges);
    const settled = tenants.map((outcome) => {
      const withheldWhy = whyWithheld(withheld, outcome.tenantId);
      const served = forTenant(outcome.state === "Removed" ? gone : wait, refusing, outcome.tenantId);
      return { outcome, status: statusOf(batchId, batch, outcome, covered, served, withheldWhy) };
    });
    await writeStatuses(settled.map(({ outcome, status }) => ({ tenantId: outcome.tenantId, status })));
    await announce(settled);
  }
  logger.info("rollout settled", { batchId, tenants: served.length, refused: refused.length, lacking });
  return { lacking };
});

const partition = <T>(items: T[], test: (item: T) => boolean): [T[], T[]] => [
  items.filter(test),
  items.filter((item) => !test(item)),
];

interface Settled {
  outcome: Outcome;
  status?: TenantStatus;
}

/** Sends the events before it notes them as sent: a settle that dies in between sends them twice and loses none. */
async function announce(settled: Settled[]): Promise<void> {
  const sent = await readAnnounced(settled.map(({ outcome }) => outcome.tenantId));
  const news = await inParallel(settled, (one) => newsOf(one, sent.get(one.outcome.tenantId)));
  await putEvents(news.flat().map(({ event }) => event));
  await saveAnnounced(news.flat());
}

const isRefused = ({ state }: Outcome) => state === "Rejected" || state === "Pending";
/** Whether edges serve it or have served it. */
const isServable = (outcome: Outcome) =>
  outcome.state !== "none" && (!isRefused(outcome) || outcome.admitted !== undefined);

function statusOf(
  batchId: string,
  batch: Batch,
  outcome: Outcome,
  covered: Coverage,
  wait: WaitOutcome,
  withheld: string | undefined,
): TenantStatus {
  const missing = wait.missing.map(({ edgeId, region, reason }) => `${edgeId} (${region}): ${reason}`);
  const base = {
    observedGeneration: isRefused(outcome) ? (outcome.admitted ?? 0) : outcome.generation,
    snapshotGeneration: covered.generation,
    batchId,
    startedAt: batch.startedAt,
    committedAt: covered.committedAt,
    settledAt: Date.now(),
  };
  const { regions, regionsCounted } = regionsServed(wait);
  return withheld === undefined
    ? { ...base, served: servedBy(wait), regions, regionsCounted, missing }
    : { ...base, served: "none", regions: [], regionsCounted, missing: [`not published: ${withheld}`] };
}

/** The event to send, unless it or a newer one was sent before. */
async function newsOf({ outcome, status }: Settled, sent: Announced | undefined): Promise<News[]> {
  const { tenantId, generation, state } = outcome;
  if (state === "none") return [];
  const detailType = detailTypeOf(outcome);
  const served = detailType === detailTypes.tenantServed ? status?.served : undefined;
  const announced: Announced = { generation, detailType, ...(served === undefined ? {} : { served }) };
  if (!isNews(announced, sent)) return [];
  // A removal is sent once no edge serves the tenant, if necessary by a rollout of the audit.
  if (state === "Removed" && status?.served !== "all") return [];
  const event = status === undefined || isRefused(outcome) ? await refusal(outcome) : settled(outcome, status);
  return [{ tenantId, announced, event }];
}

function detailTypeOf({ state }: Outcome) {
  if (state === "Removed") return detailTypes.tenantRemoved;
  if (state === "Pending") return detailTypes.tenantPending;
  return state === "Rejected" ? detailTypes.tenantRejected : detailTypes.tenantServed;
}

/** Reads the reasons from the row: a batch of hundreds of tenants has no room for them. */
async function refusal(outcome: Outcome): Promise<ControlEvent> {
  const { tenantId, generation, state } = outcome;
  const row = await readTenantRow(tenantId);
  const reasons = row?.generation === generation ? row.reasons : [];
  const detail = { tenantId, generation, reasons };
  return state === "Pending"
    ? { detailType: detailTypes.tenantPending, detail }
    : { detailType: detailTypes.tenantRejected, detail };
}

function settled({ tenantId, generation, state }: Outcome, status: TenantStatus): ControlEvent {
  if (state === "Removed") return { detailType: detailTypes.tenantRemoved, detail: { tenantId, generation } };
  const { served, regions, missing } = status;
  return { detailType: detailTypes.tenantServed, detail: { tenantId, generation, served, regions, missing } };
}
