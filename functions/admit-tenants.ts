/** Admits a batch's tenants: what each record says now becomes claims, slots and routes in the ledger. */

import { applyAdmission, readTenantRow, reserveSlots } from "../aws/ledger/admission.ts";
import { markDirty, type Outcome, readBatch, saveOutcomes } from "../aws/ledger/batches.ts";
import { cellOf, loadSettings } from "../aws/settings.ts";
import { readRecord } from "../aws/tenants.ts";
import { isTransient } from "../aws/transient.ts";
import { type AdmissionFacts, type AdmissionPlan, admit, refuse, slotsWanted } from "../core/admission/admit.ts";
import { claimField, claimInWords } from "../core/admission/claims.ts";
import { isRaw } from "../core/admission/routes.ts";
import { absent, retry } from "../core/admission/tenant-row.ts";
import { validateRecord } from "../core/admission/validate.ts";
import { canonicalJson } from "../core/canonical.ts";
import { RowChangedError } from "../core/errors.ts";
import type { Cell, Fleet } from "../schemas/fleet.ts";
import { sha256 } from "../schemas/signed.ts";
import { RolloutInput } from "../schemas/workflows.ts";
import { logger, handler as shell } from "./shell/handler.ts";
import { inParallel } from "./shell/parallel.ts";

export const handler = shell(RolloutInput, async ({ batchId }) => {
  const { fleet } = await loadSettings();
  const { tenantIds } = await readBatch(batchId);
  const facts = await inParallel(tenantIds, (tenantId) => readFacts(tenantId, fleet));
  const slots = await reserveFor(facts);
  const outcomes = await inParallel(facts, (fact) => settleOne(fact, slots.get(fact.tenantId)!));
  const cells = new Map<string, string[]>();
  for (const { tenantId, cell, state } of outcomes)
    if (state !== "none") cells.set(cell, [...(cells.get(cell) ?? []), tenantId]);
  for (const [cell, ids] of cells) await markDirty(cell, batchId, ids);
  await saveOutcomes(batchId, outcomes, Date.now());
  logger.info("batch admitted", { batchId, tenants: outcomes.length });
  return { batchId, cells: [...cells.keys()].sort() };
});

/** The ledger's row first, then the record: whatever changes in between makes the write fail, not the decision. */
async function readFacts(tenantId: string, fleet: Fleet): Promise<AdmissionFacts> {
  const row = await readTenantRow(tenantId);
  const input = await readRecord(tenantId);
  const cell = cellOf(fleet, row?.cell ?? fleet.cells[0]!.name);
  const { platformDomains } = fleet;
  const record = input === undefined ? undefined : validateRecord(input, fleet);
  return { tenantId, row, hash: hashOf(input), record, cell, platformDomains };
}

const hashOf = (input: unknown) => (input === undefined ? absent : sha256(canonicalJson(plain(input))));

/** DynamoDB's sets and binaries in a form that JSON keeps apart. */
const plain = (value: unknown): unknown => {
  if (value instanceof Set) return { set: [...value].map(plain) };
  if (value instanceof Uint8Array) return { binary: Buffer.from(value).toString("base64") };
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, plain(member)]));
};

interface Reserved {
  slots: Record<string, number>;
  full: string[];
}

/** One atomic increment a cell and kind for the whole batch. */
async function reserveFor(facts: AdmissionFacts[]): Promise<Map<string, Reserved>> {
  const reserved = new Map<string, Reserved>(facts.map(({ tenantId }) => [tenantId, { slots: {}, full: [] }]));
  const wanted = facts.flatMap((fact) =>
    slotsWanted(fact).map((protocol) => ({
      tenantId: fact.tenantId,
      cell: fact.cell,
      protocol,
      kind: kindOf(protocol),
    })),
  );
  for (const group of Map.groupBy(wanted, ({ cell, kind }) => `${cell.name} ${kind}`).values()) {
    const { cell, kind } = group[0]!;
    const first = await reserveSlots(cell.name, kind, group.length);
    group.forEach(({ tenantId, protocol }, index) => {
      const slot = slotOf(cell, kind, first + index);
      const entry = reserved.get(tenantId)!;
      if (slot === undefined) entry.full.push(protocol);
      else entry.slots[protocol] = slot;
    });
  }
  return reserved;
}

type SlotKind = "raw" | "tls";
const kindOf = (protocol: string): SlotKind => (isRaw(protocol) ? "raw" : "tls");

function slotOf(cell: Cell, kind: SlotKind, number: number): number | undefined {
  if (kind === "raw") return number < cell.portCount ? number : undefined;
  return number < cell.tlsCount ? cell.portCount + number : undefined;
}

/**
 * Admits one tenant. What goes wrong with it is its own: whatever is thrown, save for a row that changed meanwhile,
 * becomes its reason, and the row is looked at again at the next occasion.
 */
async function settleOne(facts: AdmissionFacts, { slots, full }: Reserved): Promise<Outcome> {
  try {
    const outcome = await tryOne(facts, { slots, full });
    await stillSays(facts, outcome);
    return outcome;
  } catch (error) {
    if (error instanceof RowChangedError || isTransient(error)) throw error;
    logger.error("tenant not admitted", { tenantId: facts.tenantId.slice(0, 100), error: error as Error });
    const failed = refuse(
      facts,
      "Rejected",
      [`record: Landfall failed on it (${String(error)}): write it again`],
      slots,
    );
    return write({ ...failed, row: { ...failed.row, hash: retry } }, facts);
  }
}

/**
 * The record again, after the write: another execution may have looked at a newer record while the row was still the old
 * one, and found nothing to do.
 * @throws RowChangedError when the record says something else by now
 */
async function stillSays({ tenantId, hash }: AdmissionFacts, { state }: Outcome): Promise<void> {
  if (state === "none") return;
  if (hashOf(await readRecord(tenantId)) !== hash)
    throw new RowChangedError(`the record of ${tenantId} changed meanwhile`);
}

async function tryOne(facts: AdmissionFacts, { slots, full }: Reserved): Promise<Outcome> {
  if (full.length > 0) {
    const reason = `CellFull: cell ${facts.cell.name} has no free slot for ${full.join(", ")}`;
    const pending = refuse(facts, "Pending", [reason], slots);
    return write({ ...pending, row: { ...pending.row, hash: retry } }, facts);
  }
  const plan = admit(facts, slots);
  if (plan.kind === "unchanged") return outcomeOf(facts, plan.row);
  const applied = await applyAdmission(plan, Date.now());
  if (applied.ok) return outcomeOf(facts, plan.row);
  const reasons = applied.claims.map(
    ({ claim, released }) =>
      `${claimField(claim)}: ${claimInWords(claim)} belongs to another tenant${released ? ", which gave it up: it is kept for them for now" : ""}`,
  );
  return write(refuse(facts, "Rejected", reasons.sort(), slots), facts);
}

async function write(plan: AdmissionPlan, facts: AdmissionFacts): Promise<Outcome> {
  const written = await applyAdmission(plan, Date.now());
  if (!written.ok) throw new RowChangedError(`tenant ${facts.tenantId} could not be refused`);
  return outcomeOf(facts, plan.row);
}

function outcomeOf({ tenantId, cell }: AdmissionFacts, row: AdmissionFacts["row"]): Outcome {
  if (row === undefined) return { tenantId, state: "none", generation: 0, cell: cell.name };
  const outcome = { tenantId, state: row.state, generation: row.generation, cell: row.cell };
  return row.admitted === undefined ? outcome : { ...outcome, admitted: row.admitted.generation };
}
