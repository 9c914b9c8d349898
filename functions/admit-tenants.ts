/** Admits a batch's tenants: what each record says now becomes claims, slots and routes in the ledger. */

import { applyAdmission, readTenantRows } from "../aws/ledger/admission.ts";
import { type Batch, beginAttempt, markDirty, type Outcome, saveOutcomes } from "../aws/ledger/batches.ts";
import { type CellState, readCell } from "../aws/ledger/cells.ts";
import { readEdges } from "../aws/ledger/edges.ts";
import { reserveSlots, returnSlot } from "../aws/ledger/slots.ts";
import { inParallel } from "../aws/parallel.ts";
import { loadSettings } from "../aws/settings.ts";
import { readRecords } from "../aws/tenants.ts";
import { isTransient } from "../aws/transient.ts";
import {
  type AdmissionFacts,
  type AdmissionPlan,
  admit,
  isSameRefusal,
  type Reserved,
  refuse,
  routeBytes,
  slotsWanted,
} from "../core/admission/admit.ts";
import { claimField, claimInWords } from "../core/admission/claims.ts";
import { kindOf, type Pool, placeTenants, poolsWanted, roomIn, shareOut } from "../core/admission/place.ts";
import { bucketOf } from "../core/admission/routes.ts";
import { absent } from "../core/admission/tenant-row.ts";
import { validateRecord } from "../core/admission/validate.ts";
import { canonicalJson, plain } from "../core/canonical.ts";
import { LedgerBehindError, RowChangedError } from "../core/errors.ts";
import { bucketBytesAdmitted } from "../core/publishing/gate.ts";
import type { Cell, Fleet } from "../schemas/fleet.ts";
import { sha256 } from "../schemas/signed.ts";
import { RolloutInput } from "../schemas/workflows.ts";
import { logger, handler as shell } from "./shell/handler.ts";

/**
 * What can be admitted is, and goes on to the publisher. `left` are tenants whose row changed under the hand, or whose calls
 * were throttled: the next attempt looks at them alone, with the slots that were reserved for them.
 */
export const handler = shell(RolloutInput, async ({ batchId }) => {
  const { fleet } = await loadSettings();
  const batch = await beginAttempt(batchId);
  const done = batch.outcomes ?? [];
  const settled = new Set(done.map(({ tenantId }) => tenantId));
  const known = await readCells(fleet);
  const facts = await readFacts(
    batch.tenantIds.filter((tenantId) => !settled.has(tenantId)),
    fleet,
    known,
  );
  const slots = await reserveFor(facts, batch);
  const results = await inParallel(facts, (fact) => settleOne(fact, slots.get(fact.tenantId)!));
  const fresh = results.flatMap((result) => (result === "left" ? [] : [result.outcome]));
  const again = await stillSaying(facts, fresh);
  const outcomes = [...done, ...fresh.filter(({ tenantId }) => !again.has(tenantId))];
  const byCell = Map.groupBy(
    [...done, ...fresh].filter(({ state }) => state !== "none"),
    ({ cell }) => cell,
  );
  const cells = [...byCell.keys()].filter((name) => fresh.some(({ cell, state }) => cell === name && state !== "none"));
  for (const [cell, tenants] of byCell)
    if (cells.includes(cell))
      await markDirty(
        cell,
        batch,
        tenants.map(({ tenantId, slots }) => ({ tenantId, slots })),
      );
  const left = facts.filter(({ tenantId }) => !outcomes.some((outcome) => outcome.tenantId === tenantId));
  const written = new Set(fresh.map(({ tenantId }) => tenantId)); // their slots are their own by now, or their spares
  const kept = left
    .filter(({ tenantId }) => !written.has(tenantId))
    .map(({ tenantId, cell }) => [tenantId, { cell: cell.name, slots: slots.get(tenantId)!.slots }] as const);
  await saveOutcomes(batch, outcomes, Object.fromEntries(kept), Date.now());
  logger.info("batch admitted", { batchId, tenants: outcomes.length, left: left.length });
  return { batchId, cells: cells.sort(), left: left.length };
});

/** @throws LedgerBehindError when a cell is halted */
async function readCells(fleet: Fleet): Promise<Map<string, { cell: Cell; state: CellState; edges: string[] }>> {
  const cells = await Promise.all(
    fleet.cells.map(async (cell) => {
      const [state, edges] = await Promise.all([readCell(cell.name), readEdges(cell.name)]);
      if (state.halt !== undefined) throw new LedgerBehindError(state.halt.reason);
      return [cell.name, { cell, state, edges: edges.map(({ address }) => address) }] as const;
    }),
  );
  return new Map(cells);
}

/** The ledger's rows first, then the records: whatever changes in between makes the write fail, not the decision. */
async function readFacts(
  tenantIds: string[],
  fleet: Fleet,
  cells: Awaited<ReturnType<typeof readCells>>,
): Promise<AdmissionFacts[]> {
  const rows = await readTenantRows(tenantIds);
  const inputs = await readRecords(tenantIds);
  const edges = new Set([...cells.values()].flatMap((cell) => cell.edges));
  const seen = tenantIds.map((tenantId) => {
    const input = inputs.get(tenantId);
    const record = input === undefined ? undefined : validateRecord(input, fleet, edges);
    return { tenantId, row: rows.get(tenantId), hash: hashOf(input), record };
  });
  const rooms = [...cells.values()].map(({ cell, state: { counters } }) => {
    return { cell, room: { raw: roomIn(cell, "raw", counters.raw), tls: roomIn(cell, "tls", counters.tls) } };
  });
  const placed = placeTenants(seen, rooms);
  const now = Date.now();
  const wanted = new Map<string, number>(); // by this batch, of each bucket
  return seen.map((facts) => {
    const cell = placed.get(facts.tenantId)!;
    const bucket = bucketOf(facts.tenantId);
    const before = wanted.get(`${cell.name} ${bucket}`) ?? 0;
    if (facts.record?.ok) wanted.set(`${cell.name} ${bucket}`, before + routeBytes(facts.record.record, cell));
    const used = cells.get(cell.name)!.state.commit?.sizes?.[bucket] ?? 0;
    const bucketRoom = bucketBytesAdmitted - used - before;
    return { ...facts, cell, platformDomains: fleet.platformDomains, bucketRoom, now };
  });
}

const hashOf = (input: unknown) => (input === undefined ? absent : sha256(canonicalJson(plain(input))));

interface Slots {
  slots: Record<string, Reserved>;
  full: string[];
}

/** What an earlier attempt reserved, and for the rest one increment a cell and kind. What nobody can use goes back. */
async function reserveFor(facts: AdmissionFacts[], batch: Batch): Promise<Map<string, Slots>> {
  const { reserved, tenantIds } = batch;
  const kept = new Map<string, Record<string, Reserved>>();
  const wants = facts.map((fact) => {
    const all = slotsWanted(fact);
    const before = reserved?.[fact.tenantId];
    const again = Object.entries(before?.cell === fact.cell.name ? before.slots : {}).filter(
      ([protocol, { free }]) => !free && all.includes(protocol),
    );
    kept.set(fact.tenantId, Object.fromEntries(again));
    const protocols = all.filter((protocol) => !again.some(([name]) => name === protocol));
    return { tenantId: fact.tenantId, cell: fact.cell.name, protocols };
  });
  const from = Number.parseInt(sha256(tenantIds.join()).slice(0, 8), 16) / 2 ** 32;
  const pools: Pool[] = [];
  for (const { cell, kind, count } of poolsWanted(wants)) {
    const found = facts.find((fact) => fact.cell.name === cell)!;
    pools.push({ cell, kind, slots: await reserveSlots(found.cell, kind, count, from) });
  }
  const { given, left } = shareOut(wants, pools);
  for (const { cell, kind, slots } of [...left, ...unwanted(facts, batch, kept)])
    for (const { slot, free } of slots) if (!free) await returnSlot(cell, kind, slot);
  return new Map(
    wants.map(({ tenantId, protocols }) => {
      const got = given.get(tenantId);
      const slots = { ...kept.get(tenantId), ...got };
      return [tenantId, { slots, full: got === undefined ? protocols : [] }] as const;
    }),
  );
}

/** What an earlier attempt reserved for tenants that don't want it any more: another execution has admitted them. */
function unwanted(facts: AdmissionFacts[], { reserved }: Batch, kept: Map<string, Record<string, Reserved>>): Pool[] {
  return facts.flatMap(({ tenantId }) => {
    const before = reserved?.[tenantId];
    const still = Object.values(kept.get(tenantId) ?? {}).map(({ slot }) => slot);
    return Object.entries(before?.slots ?? {})
      .filter(([, { slot }]) => !still.includes(slot))
      .map(([protocol, slot]) => ({ cell: before!.cell, kind: kindOf(protocol), slots: [slot] }));
  });
}

type Result = { outcome: Outcome } | "left";

/** Admits one tenant. What goes wrong with it is its own: save for what passes, it becomes its reason. */
async function settleOne(facts: AdmissionFacts, slots: Slots): Promise<Result> {
  const { tenantId } = facts;
  try {
    return { outcome: await tryOne(facts, slots) };
  } catch (error) {
    if (error instanceof RowChangedError || isTransient(error)) return leave(tenantId, error);
    logger.error("tenant not admitted", { tenantId: tenantId.slice(0, 100), error: error as Error });
    const reason = `record: Landfall failed on it (${String(error)}) and tries again`;
    try {
      return { outcome: await write(refuse(facts, "Rejected", [reason], slots.slots, { fault: true }), facts) };
    } catch (second) {
      return leave(tenantId, second);
    }
  }
}

function leave(tenantId: string, error: unknown): "left" {
  logger.warn("tenant left for the next attempt", { tenantId: tenantId.slice(0, 100), error: error as Error });
  return "left";
}

/**
 * Tenants whose record says something else by now: another execution may have looked at the newer one while the row was
 * still the old one, and found nothing to do.
 */
async function stillSaying(facts: AdmissionFacts[], outcomes: Outcome[]): Promise<Set<string>> {
  const written = outcomes.filter(({ state }) => state !== "none").map(({ tenantId }) => tenantId);
  const now = await readRecords(written);
  const hashes = new Map(facts.map(({ tenantId, hash }) => [tenantId, hash]));
  return new Set(written.filter((tenantId) => hashOf(now.get(tenantId)) !== hashes.get(tenantId)));
}

async function tryOne(facts: AdmissionFacts, { slots, full }: Slots): Promise<Outcome> {
  if (full.length > 0) {
    const reason = `CellFull: cell ${facts.cell.name} has no free slot for ${full.join(", ")}`;
    return write(refuse(facts, "Pending", [reason], slots), facts);
  }
  const plan = admit(facts, slots);
  if (plan.kind === "unchanged") return outcomeOf(facts, plan.row);
  const applied = await applyAdmission(plan, facts.now);
  if (applied.ok) return outcomeOf(facts, plan.row);
  const reasons = applied.claims.map(
    ({ claim, released }) =>
      `${claimField(claim)}: ${claimInWords(claim)} belongs to another tenant${released ? ", which gave it up: it is kept for them for now" : ""}`,
  );
  const blocked = applied.claims.map(({ claim }) => claim).sort();
  return write(refuse(facts, "Rejected", reasons.sort(), slots, { blocked }), facts);
}

async function write(plan: AdmissionPlan, facts: AdmissionFacts): Promise<Outcome> {
  if (isSameRefusal(plan, facts.row)) return outcomeOf(facts, facts.row); // looked at again, with the same result
  const written = await applyAdmission(plan, facts.now);
  if (!written.ok) throw new RowChangedError(`tenant ${facts.tenantId} could not be refused`);
  return outcomeOf(facts, plan.row);
}

function outcomeOf({ tenantId, cell }: AdmissionFacts, row: AdmissionFacts["row"]): Outcome {
  if (row === undefined) return { tenantId, state: "none", generation: 0, cell: cell.name, slots: [] };
  const slots = Object.values(row.slots).sort((a, b) => a - b);
  const outcome = { tenantId, state: row.state, generation: row.generation, cell: row.cell, slots };
  return row.admitted === undefined ? outcome : { ...outcome, admitted: row.admitted.generation };
}
