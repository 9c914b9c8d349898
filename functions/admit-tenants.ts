/** Admits a batch's tenants: writes the claims, slots and routes of each current record to the ledger. */

import { applyAdmission, applyTogether, readTenantRows } from "../aws/ledger/admission.ts";
import { beginAttempt, saveProgress } from "../aws/ledger/batches.ts";
import { type CellState, readCell } from "../aws/ledger/cells.ts";
import { markDirty } from "../aws/ledger/dirty-set.ts";
import { readSummaries } from "../aws/ledger/edges.ts";
import { proofId, readProofs } from "../aws/ledger/proofs.ts";
import { reserveSlots, returnSlot } from "../aws/ledger/slots.ts";
import { endTurns, haveTurns } from "../aws/ledger/turns.ts";
import { logger } from "../aws/logger.ts";
import { inParallel } from "../aws/parallel.ts";
import { loadSettings } from "../aws/settings.ts";
import { readRecords } from "../aws/tenants.ts";
import { isNoVerdict } from "../aws/transient.ts";
import {
  type AdmissionFacts,
  type AdmissionPlan,
  admit,
  isSameRefusal,
  mustWait,
  proofsWanted,
  refuse,
  slotsWanted,
  withoutSlots,
} from "../core/admission/admit.ts";
import { type Processed, progressOf } from "../core/admission/attempt.ts";
import { groupsOf } from "../core/admission/groups.ts";
import { absent } from "../core/admission/tenant-row.ts";
import { validateRecord } from "../core/admission/validate.ts";
import { canonicalJson, plain } from "../core/canonical.ts";
import { RowChangedError } from "../core/errors.ts";
import { ownerOf } from "../core/names/claims.ts";
import { contestInWords } from "../core/names/points.ts";
import { type Batch, deliveryOf, type Outcome } from "../core/rollout/batch.ts";
import { bucketOf } from "../core/routes/buckets.ts";
import { routeBytes } from "../core/routes/routes.ts";
import { kindOf } from "../core/slots/numbering.ts";
import { placeTenants, roomIn } from "../core/slots/placement.ts";
import { type Pool, poolsWanted, type Reserved, shareOut } from "../core/slots/pools.ts";
import type { Cell, Fleet } from "../schemas/fleet.ts";
import { snapshotLimits } from "../schemas/limits.ts";
import { sha256 } from "../schemas/signed.ts";
import { RolloutInput } from "../schemas/workflows.ts";
import { handler as shell } from "./shell/handler.ts";

/**
 * Admits the tenants that it can, and marks them for the publisher. `deferred` counts tenants whose row changed while
 * they were processed, or whose calls were throttled: the next attempt processes only these, with their reserved slots.
 */
export const handler = shell(RolloutInput, async ({ batchId, turn = false }) => {
  const { fleet } = await loadSettings();
  const batch = await beginAttempt(batchId);
  const earlier = batch.outcomes ?? [];
  const done = new Set(earlier.map(({ tenantId }) => tenantId));
  const tenantIds = batch.tenantIds.filter((tenantId) => !done.has(tenantId));
  const cells = await readCells(fleet);
  if (turn) await endTurns(tenantIds, deliveryOf(batchId));
  const { facts, waiting } = await readFacts(tenantIds, fleet, cells, batchId);
  const slots = await reserveFor(facts, batch);
  const outcomes = await processAll(facts, slots);
  const changed = await changedSince(facts, outcomes);
  const processed = facts.map(({ tenantId, cell }, index): Processed => {
    const reservation = { cell: cell.name, slots: slots.get(tenantId)!.slots };
    return { tenantId, reservation, outcome: outcomes[index]!, changed: changed.has(tenantId) };
  });
  const unplaced = waiting.map((tenantId): Processed => {
    return { tenantId, reservation: batch.reserved?.[tenantId], outcome: "deferred", changed: false };
  });
  const progress = progressOf({ earlier, processed: [...processed, ...unplaced] });
  for (const { cell, tenants } of progress.dirty) await markDirty(cell, batch, tenants);
  await saveProgress(batch, progress, Date.now());
  const deferred = progress.deferred.length;
  logger.info("batch admitted", { batchId, tenants: progress.outcomes.length, deferred });
  return { batchId, cells: progress.dirty.map(({ cell }) => cell), deferred };
});

async function readCells(fleet: Fleet): Promise<Map<string, { cell: Cell; state: CellState; edges: string[] }>> {
  const cells = await Promise.all(
    fleet.cells.map(async (cell) => {
      const [state, edges] = await Promise.all([readCell(cell.name), readSummaries(cell.name)]);
      return [cell.name, { cell, state, edges: edges.map(({ address }) => address) }] as const;
    }),
  );
  return new Map(cells);
}

/**
 * Reads the ledger's rows before the records: after a change in between, the write fails and no decision is wrong. Tenants
 * without a cell are `waiting`.
 */
async function readFacts(
  tenantIds: string[],
  fleet: Fleet,
  cells: Awaited<ReturnType<typeof readCells>>,
  batchId: string,
): Promise<{ facts: AdmissionFacts[]; waiting: string[] }> {
  const rows = await readTenantRows(tenantIds);
  const inputs = await readRecords(tenantIds);
  const edges = new Set([...cells.values()].flatMap((cell) => cell.edges));
  const read = tenantIds.map((tenantId) => {
    const input = inputs.get(tenantId);
    const record = input === undefined ? undefined : validateRecord(input, fleet, edges);
    return { tenantId, row: rows.get(tenantId), hash: hashOf(input), record };
  });
  const rooms = [...cells.values()].map(({ cell, state: { counters, halt } }) => {
    const room = { raw: roomIn(cell, "raw", counters.raw), tls: roomIn(cell, "tls", counters.tls) };
    return { cell, room, isHalted: halt !== undefined };
  });
  const placed = placeTenants(read, rooms);
  const now = Date.now();
  const wanted = new Map<string, number>(); // bytes in each bucket for earlier tenants of this batch
  const namesHeld = rooms.some(({ isHalted }) => isHalted);
  const waiting: string[] = [];
  const proofs = await readProofsOf(read, fleet, now);
  const facts = read.flatMap((facts) => {
    const placement = placed.get(facts.tenantId)!;
    if ("waits" in placement) {
      defer(facts.tenantId, placement.waits);
      waiting.push(facts.tenantId);
      return [];
    }
    const { cell } = placement;
    const bucket = bucketOf(facts.tenantId);
    const before = wanted.get(`${cell.name} ${bucket}`) ?? 0;
    if (facts.record?.ok) wanted.set(`${cell.name} ${bucket}`, before + routeBytes(facts.record.record, cell));
    const used = cells.get(cell.name)!.state.commit?.sizes?.[bucket] ?? 0;
    const bucketRoom = snapshotLimits.bucketBytesMax - snapshotLimits.bucketHeadroomBytes - used - before;
    const proven = proofs(facts);
    return [{ ...facts, cell, rules: fleet, proven, namesHeld, bucketRoom, now, batchId }];
  });
  return { facts, waiting };
}

type Read = Pick<AdmissionFacts, "row" | "record">;

/** Which of the names that need a proof have one, by tenant. */
async function readProofsOf(read: Read[], rules: Fleet, now: number): Promise<(of: Read) => Set<string>> {
  const wanted = ({ row, record }: Read) =>
    proofsWanted({ row, record, rules }).map((name) => ({ owner: record?.ok ? ownerOf(record.record) : "", name }));
  const found = await readProofs(read.flatMap(wanted), now);
  return (of) => new Set(wanted(of).flatMap(({ owner, name }) => (found.has(proofId(owner, name)) ? [name] : [])));
}

const hashOf = (input: unknown) => (input === undefined ? absent : sha256(canonicalJson(plain(input))));

interface Slots {
  slots: Record<string, Reserved>;
  /** Protocols for which the cell has no slot. */
  full: string[];
}

/** Uses an earlier attempt's slots and reserves the rest with one increment per cell and kind. Returns unused slots. */
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
  const { given, unused } = shareOut(wants, pools);
  const back = [...unused, ...unwanted(facts, batch, kept)].flatMap(({ cell, kind, slots }) =>
    slots.filter(({ free }) => !free).map(({ slot }) => ({ cell, kind, slot })),
  );
  await inParallel(back, ({ cell, kind, slot }) => returnSlot(cell, kind, slot));
  return new Map(
    wants.map(({ tenantId, protocols }) => {
      const got = given.get(tenantId);
      const slots = { ...kept.get(tenantId), ...got };
      return [tenantId, { slots, full: got === undefined ? protocols : [] }] as const;
    }),
  );
}

/** Slots that an earlier attempt reserved for tenants that no longer want them: another execution has admitted them. */
function unwanted(facts: AdmissionFacts[], { reserved }: Batch, kept: Map<string, Record<string, Reserved>>): Pool[] {
  return facts.flatMap(({ tenantId }) => {
    const before = reserved?.[tenantId];
    const wanted = Object.values(kept.get(tenantId) ?? {}).map(({ slot }) => slot);
    return Object.entries(before?.slots ?? {})
      .filter(([, { slot }]) => !wanted.includes(slot))
      .map(([protocol, slot]) => ({ cell: before!.cell, kind: kindOf(protocol), slots: [slot] }));
  });
}

/** Admits tenants in groups, and those alone that must wait, are refused, or whose group could not be written. */
async function processAll(facts: AdmissionFacts[], slots: Map<string, Slots>): Promise<(Outcome | "deferred")[]> {
  const factsOf = new Map<AdmissionPlan, AdmissionFacts>();
  for (const fact of facts) for (const plan of planned(fact, slots.get(fact.tenantId)!)) factsOf.set(plan, fact);
  const groups = groupsOf([...factsOf.keys()]).filter((group) => group.length > 1);
  const admitted = new Map<AdmissionFacts, Outcome>();
  await inParallel(groups, async (group) => {
    const all = group.map((plan) => ({ plan, fact: factsOf.get(plan)! }));
    try {
      await applyTogether(all.map(({ plan, fact: { row, now } }) => ({ plan, before: row, now })));
      for (const { plan, fact } of all) admitted.set(fact, outcomeOf(fact, plan.row));
    } catch (error) {
      logger.info("a group is admitted one by one", { tenants: all.length, error: error as Error });
    }
  });
  return inParallel(facts, async (fact) => admitted.get(fact) ?? processOne(fact, slots.get(fact.tenantId)!));
}

/** What is to be written for a tenant, unless it must wait. An error is the tenant's own: it comes again when it is alone. */
function planned(facts: AdmissionFacts, { slots, full }: Slots): AdmissionPlan[] {
  if (full.length > 0) return [];
  try {
    const plan = admit(facts, slots);
    return plan.kind === "unchanged" || mustWait(facts, plan) ? [] : [plan];
  } catch {
    return [];
  }
}

/**
 * Admits one tenant. An error affects only this tenant. An error that says nothing about the tenant defers it; any other
 * error becomes the reason of a rejection that is tried again.
 */
async function processOne(facts: AdmissionFacts, slots: Slots): Promise<Outcome | "deferred"> {
  const { tenantId } = facts;
  try {
    return await admitOne(facts, slots);
  } catch (error) {
    if (error instanceof RowChangedError || isNoVerdict(error)) return defer(tenantId, error);
    logger.error("tenant not admitted", { tenantId: tenantId.slice(0, 100), error: error as Error });
    const reason = `record: Landfall failed to process it (${String(error)}) and will try again`;
    try {
      return await write(refuse(facts, "Rejected", [reason], slots.slots, { fault: true }), facts);
    } catch (second) {
      return defer(tenantId, second);
    }
  }
}

function defer(tenantId: string, why: unknown): "deferred" {
  const cause = why instanceof Error ? { error: why } : { reason: String(why) };
  logger.warn("tenant deferred to the next attempt", { tenantId: tenantId.slice(0, 100), ...cause });
  return "deferred";
}

/**
 * Written tenants whose record has changed since it was read. Another execution may have compared the newer record with
 * the old row and found nothing to do.
 */
async function changedSince(facts: AdmissionFacts[], outcomes: (Outcome | "deferred")[]): Promise<Set<string>> {
  const written = outcomes.flatMap((outcome) =>
    outcome === "deferred" || outcome.state === "none" ? [] : [outcome.tenantId],
  );
  const records = await readRecords(written);
  const hashes = new Map(facts.map(({ tenantId, hash }) => [tenantId, hash]));
  const changed = written.filter((tenantId) => hashOf(records.get(tenantId)) !== hashes.get(tenantId));
  const later = await haveTurns(changed, Date.now()); // a rollout will read these records after this write
  return new Set(changed.filter((tenantId) => !later.has(tenantId)));
}

async function admitOne(facts: AdmissionFacts, { slots, full }: Slots): Promise<Outcome | "deferred"> {
  if (full.length > 0) {
    const reason = `CellFull: cell ${facts.cell.name} has no free slot for ${full.join(", ")}`;
    return write(refuse(facts, "Pending", [reason], slots), facts);
  }
  const plan = admit(facts, slots);
  if (plan.kind === "unchanged") return outcomeOf(facts, plan.row);
  if (mustWait(facts, plan)) return defer(facts.tenantId, "a cell is halted: no new name is given");
  const applied = await applyAdmission(plan, facts.row, facts.now);
  if (applied.ok) return outcomeOf(facts, plan.row);
  if (applied.lost.length > 0) {
    for (const [protocol, { slot }] of Object.entries(slots)) if (applied.lost.includes(slot)) delete slots[protocol];
    const mended = withoutSlots(facts, applied.lost);
    if (mended !== undefined) await applyAdmission(mended, facts.row, facts.now);
    return defer(facts.tenantId, `slots that it had are other tenants': ${applied.lost.join(", ")}`);
  }
  const reasons = new Set(applied.contests.map(contestInWords));
  const blocked = applied.contests.map(({ claim }) => claim).sort();
  return write(refuse(facts, "Rejected", [...reasons].sort(), slots, { blocked }), facts);
}

async function write(plan: AdmissionPlan, facts: AdmissionFacts): Promise<Outcome> {
  if (isSameRefusal(plan, facts.row)) return outcomeOf(facts, facts.row); // the row has this refusal already
  const written = await applyAdmission(plan, facts.row, facts.now);
  if (!written.ok) throw new RowChangedError(`the refusal of tenant ${facts.tenantId} could not be written`);
  return outcomeOf(facts, plan.row);
}

function outcomeOf({ tenantId, cell }: AdmissionFacts, row: AdmissionFacts["row"]): Outcome {
  if (row === undefined) return { tenantId, state: "none", generation: 0, cell: cell.name, slots: [] };
  const slots = Object.values(row.slots).sort((a, b) => a - b);
  const outcome = { tenantId, state: row.state, generation: row.generation, cell: row.cell, slots };
  return row.admitted === undefined ? outcome : { ...outcome, admitted: row.admitted.generation };
}
