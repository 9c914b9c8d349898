/** Admits a batch's tenants: what each record says now becomes claims, slots and routes in the ledger. */

import { sha256 } from "../aws/hash.ts";
import { applyAdmission, readTenantRow, reserveSlots } from "../aws/ledger/admission.ts";
import { markDirty, type Outcome, readBatch, saveOutcomes } from "../aws/ledger/batches.ts";
import { cellOf, loadSettings } from "../aws/settings.ts";
import { readRecord } from "../aws/tenants.ts";
import { type AdmissionFacts, admit, refuse, slotsWanted } from "../core/admission/admit.ts";
import { claimInWords } from "../core/admission/claims.ts";
import { isRaw } from "../core/admission/routes.ts";
import { absent } from "../core/admission/tenant-row.ts";
import { validateRecord } from "../core/admission/validate.ts";
import { canonicalJson } from "../core/canonical.ts";
import { RowChangedError } from "../core/errors.ts";
import type { Cell, Fleet } from "../schemas/fleet.ts";
import { RolloutInput } from "../schemas/workflows.ts";
import { logger, handler as shell } from "./shell/handler.ts";

/** Tenants admitted side by side; more only queue at DynamoDB. */
const concurrency = 16;

export const handler = shell(RolloutInput, async ({ batchId }) => {
  const { fleet } = await loadSettings();
  const { tenantIds } = await readBatch(batchId);
  const facts = await inParallel(tenantIds, (tenantId) => readFacts(tenantId, fleet));
  const slots = await reserveFor(facts);
  const outcomes = await inParallel(facts, async (fact) => settleOne(fact, slots.get(fact.tenantId)));
  const cells = new Map<string, string[]>();
  for (const { tenantId, cell, state } of outcomes)
    if (state !== "none") cells.set(cell, [...(cells.get(cell) ?? []), tenantId]);
  for (const [cell, ids] of cells) await markDirty(cell, batchId, ids);
  await saveOutcomes(batchId, outcomes, Date.now());
  const changed = outcomes.filter((outcome) => outcome.changed).length;
  logger.info("batch admitted", { batchId, tenants: outcomes.length, changed });
  return { batchId, cells: [...cells.keys()].sort() };
});

/** The ledger's row first, then the record: whatever changes in between makes the write fail, not the decision. */
async function readFacts(tenantId: string, fleet: Fleet): Promise<AdmissionFacts> {
  const row = await readTenantRow(tenantId);
  const input = await readRecord(tenantId);
  const cell = cellOf(fleet, row?.cell ?? fleet.cells[0]!.name);
  const { platformDomains } = fleet;
  if (input === undefined) return { tenantId, row, hash: absent, record: undefined, cell, platformDomains };
  const record = validateRecord(input, fleet);
  return { tenantId, row, hash: sha256(canonicalJson(plain(input))), record, cell, platformDomains };
}

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

async function settleOne(facts: AdmissionFacts, reserved: Reserved | undefined): Promise<Outcome> {
  const full = reserved?.full ?? [];
  const plan =
    full.length > 0
      ? refuse(facts, "Pending", [`CellFull: cell ${facts.cell.name} has no free slot for ${full.join(", ")}`])
      : admit(facts, reserved?.slots ?? {});
  if (plan.kind === "unchanged") return outcomeOf(facts, plan.row, false);
  const applied = await applyAdmission(plan, Date.now());
  if (applied.ok) return outcomeOf(facts, plan.row, true);
  const reasons = applied.claims.map((claim) => `hostnames: ${claimInWords(claim)} belongs to another tenant`);
  const refused = refuse(facts, "Rejected", reasons);
  const written = await applyAdmission(refused, Date.now());
  if (!written.ok) throw new RowChangedError(`tenant ${facts.tenantId} could not be refused`);
  return outcomeOf(facts, refused.row, true);
}

function outcomeOf(facts: AdmissionFacts, row: AdmissionFacts["row"], changed: boolean): Outcome {
  const { tenantId, cell } = facts;
  if (row === undefined) return { tenantId, state: "none", generation: 0, changed: false, cell: cell.name };
  return { tenantId, state: row.state, generation: row.generation, changed, cell: row.cell, reasons: row.reasons };
}

async function inParallel<T, R>(items: T[], run: (item: T) => Promise<R>): Promise<R[]> {
  const results = new Array<R>(items.length);
  let next = 0;
  const worker = async () => {
    for (let index = next++; index < items.length; index = next++) results[index] = await run(items[index]!);
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, items.length) }, worker));
  return results;
}
