import type { Cell, Fleet } from "../../schemas/fleet.ts";
import { tenantLimits } from "../../schemas/limits.ts";
import type { Route } from "../../schemas/snapshot.ts";
import type { TenantRecord } from "../../schemas/tenant.ts";
import { canonicalJson } from "../canonical.ts";
import { claimsOf, namesOf, ownerOf, pointOf } from "../names/claims.ts";
import type { NameRules } from "../names/ownership.ts";
import { namesToProve, tokenOf, unprovenInWords } from "../names/proof.ts";
import { routeBytes, routesOf } from "../routes/routes.ts";
import { kindOf, kindOfSlot, slottedIn } from "../slots/numbering.ts";
import type { Reserved } from "../slots/pools.ts";
import { absent, admittedRoutes, type TenantRow } from "./tenant-row.ts";
import type { Validated } from "./validate.ts";

/** The input of admission. The ledger's row was read before the record; `hash` is the record's canonical hash. */
export interface AdmissionFacts {
  tenantId: string;
  row: TenantRow | undefined;
  hash: string;
  record: Validated | undefined;
  cell: Cell;
  rules: NameRules & Pick<Fleet, "stage" | "requireProof">;
  /** Of the names that `proofsWanted` asks for: those that were shown to be the tenant's. */
  proven: ReadonlySet<string>;
  /**
   * A cell is halted, perhaps because the ledger was restored from a backup: then claims of its tenants may be missing, and
   * no new name may be given to anybody.
   */
  namesHeld: boolean;
  /** Bytes that the tenant's route bucket may still grow by. */
  bucketRoom: number;
  /** Milliseconds since 1970. */
  now: number;
  /** The batch that the tenant is a part of. */
  batchId: string;
}

/** The writes. All of them require that the row is still at `expectedVersion` (0: there is no row yet). */
export interface AdmissionPlan {
  kind: "write";
  expectedVersion: number;
  row: TenantRow;
  /** Who shares what is claimed. */
  owner: string;
  /** What to claim, and what to release into quarantine. Claims that the tenant keeps are in neither. */
  claim: string[];
  release: string[];
  takeSlots: { protocol: string; slot: number; free: boolean }[];
  tombstoneSlots: { protocol: string; slot: number; reason: string }[];
  /** Spare slots that the tenant can't use any more: no edge ever served them. */
  freeSlots: { cell: string; slot: number }[];
  /** The tenant's routes from now on; undefined leaves them as they are. */
  routes: Route[] | undefined;
  /** Slots whose route is removed. */
  dropRoutes: number[];
  /** The proof of a name is looked for from now on, or not any more. */
  proof: "awaited" | "over" | undefined;
}

export type Admission = { kind: "unchanged"; row: TenantRow | undefined } | AdmissionPlan;

const { transactionWritesMax, routeBytesMax, reasonsMax, reasonCharactersMax } = tenantLimits;

/**
 * Whether the row still follows from the record. Apart from the record, the fleet may have changed: which records it allows,
 * the platform's domains, the edges' addresses.
 */
export function isCurrent({
  row,
  hash,
  record,
  rules,
}: Pick<AdmissionFacts, "row" | "hash" | "record"> & { rules: NameRules }): boolean {
  if (row === undefined) return record === undefined;
  if (row.hash !== hash) return false;
  if (record === undefined) return true;
  if (!record.ok || row.invalid) return !record.ok && row.invalid === true;
  const isServed = row.state === "Admitted" || row.state === "Suspended";
  return !isServed || canonicalJson(claimsOf(record.record, rules)) === canonicalJson(row.claims);
}

const isUnchanged = (facts: AdmissionFacts) => facts.row?.retry === undefined && isCurrent(facts);

/** Protocols of the record that need a new slot, in order. Protocols that can use a slot of the tenant's own are left out. */
export function slotsWanted(facts: AdmissionFacts): string[] {
  const { row, record, cell } = facts;
  if (isUnchanged(facts) || !record?.ok || sizeFault(facts, record.record) !== undefined) return [];
  if (unprovenOf(facts).length > 0) return [];
  const own = ownSlots(row, record.record, cell);
  return slotless(row, record.record).filter((protocol) => !Object.hasOwn(own.slots, protocol));
}

const slotless = (row: TenantRow | undefined, record: TenantRecord) =>
  slottedIn(record)
    .filter((protocol) => row === undefined || !Object.hasOwn(row.slots, protocol))
    .sort();

/**
 * Slots of the tenant's own for protocols that have none: first those that it gave up and that are not free yet, then spare
 * ones, which were reserved for it and never taken. So a tenant that changes its protocols again and again has at most twice
 * as many slots as a record may have protocols. `emptied` are the protocols that gave their slots up.
 */
function ownSlots(row: TenantRow | undefined, record: TenantRecord, cell: Cell) {
  const own: { slots: Record<string, number>; emptied: string[] } = { slots: {}, emptied: [] };
  if (row?.cell !== cell.name) return own;
  const used = [...slottedIn(record), ...slottedIn(row.admitted?.record)];
  const givenUp = Object.entries(row.slots)
    .filter(([protocol]) => !used.includes(protocol))
    .map(([protocol, slot]) => ({ slot, emptied: [protocol] }));
  const spare = (row.spare ?? []).map((slot) => ({ slot, emptied: [] }));
  const bySlot = <T extends { slot: number }>(slots: T[]) => slots.toSorted((a, b) => a.slot - b.slot);
  const offered: { slot: number; emptied: string[] }[] = [...bySlot(givenUp), ...bySlot(spare)];
  for (const protocol of slotless(row, record)) {
    const at = offered.findIndex(({ slot }) => kindOfSlot(slot) === kindOf(protocol));
    const [taken] = at < 0 ? [] : offered.splice(at, 1);
    if (taken === undefined) continue;
    own.slots[protocol] = taken.slot;
    own.emptied.push(...taken.emptied);
  }
  return own;
}

/** Whether a plan must wait until no cell is halted. */
export const mustWait = ({ namesHeld }: AdmissionFacts, plan: AdmissionPlan) => namesHeld && plan.claim.length > 0;

/** Decides a tenant's new state. `fresh` are slots reserved for `slotsWanted`, by protocol. */
export function admit(facts: AdmissionFacts, fresh: Record<string, Reserved>): Admission {
  const { row, record } = facts;
  if (isUnchanged(facts)) return { kind: "unchanged", row };
  if (record === undefined) return remove(facts, row!);
  if (!record.ok) return refuse(facts, "Rejected", record.reasons, fresh, { invalid: true });
  const fault = sizeFault(facts, record.record);
  if (fault !== undefined) return refuse(facts, fault.state, [fault.reason], fresh);
  const unproven = unprovenOf(facts);
  if (unproven.length > 0) {
    const token = tokenOf(facts.rules.stage, ownerOf(record.record));
    const reasons = unproven.map((name) => unprovenInWords(name, token));
    return refuse(facts, "Pending", reasons, fresh, { unproven });
  }
  const plan = accept(facts, record.record, fresh);
  const writes = writesOf(plan);
  if (writes <= transactionWritesMax) return plan;
  const reason = `hostnames: this changes too much at once (${writes} writes, at most ${transactionWritesMax}): replace the names in two steps`;
  return refuse(facts, "Rejected", [reason], fresh);
}

/** Names of the record that the tenant may have only with a proof. */
export function proofsWanted({ row, record, rules }: Pick<AdmissionFacts, "row" | "record" | "rules">): string[] {
  if (!rules.requireProof || !record?.ok) return [];
  const held = row?.admitted === undefined ? [] : namesOf(row.admitted.record);
  return namesToProve(namesOf(record.record), held, rules);
}

const unprovenOf = (facts: AdmissionFacts) => proofsWanted(facts).filter((name) => !facts.proven.has(name));

export const writesOf = (plan: AdmissionPlan) =>
  (plan.proof === undefined ? 1 : 2) +
  new Set([...plan.claim, ...plan.release].map(pointOf)).size +
  plan.takeSlots.length +
  plan.takeSlots.filter(({ free }) => free).length +
  plan.tombstoneSlots.length +
  plan.freeSlots.length +
  (plan.routes?.length ?? 0) +
  plan.dropRoutes.length;

/** Why a record is too large for a tenant or its bucket. It is checked before slots are reserved and names claimed. */
function sizeFault(
  { row, cell, bucketRoom }: AdmissionFacts,
  record: TenantRecord,
): { state: "Rejected" | "Pending"; reason: string } | undefined {
  const bytes = routeBytes(record, cell);
  if (bytes > routeBytesMax)
    return {
      state: "Rejected",
      reason: `backends: its routes are ${bytes} bytes, at most ${routeBytesMax} are allowed: use fewer addresses or protocols`,
    };
  const before = row?.admitted === undefined ? 0 : routeBytes(row.admitted.record, cell);
  if (bytes - before <= bucketRoom) return undefined;
  return { state: "Pending", reason: `CellFull: cell ${cell.name} has no room for ${bytes} bytes of routes` };
}

/**
 * The record can't be served: the record that was admitted before stays in force, and the row keeps the reasons for the
 * record's writer. Slots that were reserved for it become spares, so that repeated attempts take no more slots. A
 * record that is refused for a temporary cause (`Pending`, claims of other tenants, a fault of Landfall) is evaluated
 * again.
 */
export function refuse(
  facts: AdmissionFacts,
  state: "Rejected" | "Pending",
  reasons: string[],
  fresh: Record<string, Reserved>,
  {
    blocked = [],
    unproven = [],
    fault = false,
    invalid = false,
  }: { blocked?: string[]; unproven?: string[]; fault?: boolean; invalid?: boolean } = {},
): AdmissionPlan {
  const row = nextRow(facts);
  const unused = Object.values(fresh).flatMap(({ slot, free }) => (free ? [] : [slot]));
  const spare = [...(row.spare ?? []), ...unused];
  return plan(facts, {
    ...row,
    ...(spare.length > 0 ? { spare } : {}),
    ...(blocked.length > 0 ? { blocked } : {}),
    ...(unproven.length > 0 ? { unproven } : {}),
    ...(invalid ? { invalid } : {}),
    ...(state === "Pending" || blocked.length > 0 || fault ? { retry: true } : {}),
    state,
    reasons: shortened(reasons),
  });
}

/**
 * The row without slots that turned out to be other tenants': a ledger that was restored gave them out again, and a batch from
 * before remembers them. Undefined if the row has none of them.
 */
export function withoutSlots({ row, ...facts }: AdmissionFacts, lost: number[]): AdmissionPlan | undefined {
  if (row === undefined) return undefined;
  const { spare = [], slots, ...rest } = row;
  const isTheirs = (slot: number) => lost.includes(slot);
  const admitted = slottedIn(row.admitted?.record);
  const kept = Object.entries(slots).filter(([protocol, slot]) => admitted.includes(protocol) || !isTheirs(slot));
  const left = spare.filter((slot) => !isTheirs(slot));
  if (left.length === spare.length && kept.length === Object.keys(slots).length) return undefined;
  const mended = { ...rest, slots: Object.fromEntries(kept), ...(left.length > 0 ? { spare: left } : {}) };
  return plan({ ...facts, row }, { ...mended, version: row.version + 1 });
}

/** Whether a refusal would leave a row unchanged: writing it again would only conflict with other writers. */
export function isSameRefusal({ row: next }: AdmissionPlan, row: TenantRow | undefined): boolean {
  const said = ({ hash, state, reasons, cell, spare = [], blocked = [], unproven, retry, invalid }: TenantRow) =>
    canonicalJson({ hash, state, reasons, cell, spare, blocked, unproven, retry, invalid });
  return row !== undefined && said(row) === said(next);
}

function shortened(reasons: string[]): string[] {
  const cut = reasons
    .slice(0, reasonsMax)
    .map((reason) => (reason.length > reasonCharactersMax ? `${reason.slice(0, reasonCharactersMax)}…` : reason));
  return reasons.length > reasonsMax ? [...cut, `and ${reasons.length - reasonsMax} more`] : cut;
}

function accept(facts: AdmissionFacts, record: TenantRecord, fresh: Record<string, Reserved>): AdmissionPlan {
  const { row: old, cell } = facts;
  const base = nextRow(facts);
  const own = ownSlots(old, record, cell);
  const reserved = Object.fromEntries(Object.entries(fresh).map(([protocol, { slot }]) => [protocol, slot]));
  const kept = Object.entries(base.slots).filter(([protocol]) => !own.emptied.includes(protocol));
  const slots = { ...Object.fromEntries(kept), ...own.slots, ...reserved };
  const claims = claimsOf(record, facts.rules);
  const isSameOwner = old?.admitted !== undefined && ownerOf(old.admitted.record) === ownerOf(record);
  const routes = routesOf(record, base.generation, slots, cell);
  const { spare: had = [], ...rest } = base;
  const spare = had.filter((slot) => !Object.values(own.slots).includes(slot));
  const row: TenantRow = {
    ...rest,
    ...(spare.length > 0 ? { spare } : {}),
    state: record.suspended ? "Suspended" : "Admitted",
    reasons: [],
    slots,
    claims,
    admitted: { generation: base.generation, record },
  };
  const served = new Set(routes.map((route) => route.slot));
  const [before, after] = [slottedIn(old?.admitted?.record), slottedIn(record)];
  return {
    ...plan(facts, row),
    claim: claims.filter((name) => !isSameOwner || !base.claims.includes(name)),
    release: base.claims.filter((name) => !claims.includes(name)),
    takeSlots: after
      .filter((protocol) => !before.includes(protocol))
      .map((protocol) => ({ protocol, slot: slots[protocol]!, free: fresh[protocol]?.free ?? false })),
    tombstoneSlots: before
      .filter((protocol) => !after.includes(protocol))
      .map((protocol) => ({ protocol, slot: slots[protocol]!, reason: "protocol removed" })),
    routes,
    dropRoutes: servedSlots(old, cell).filter((slot) => !served.has(slot)),
  };
}

function remove(facts: AdmissionFacts, old: TenantRow): AdmissionPlan {
  const { admitted, spare: _, ...base } = nextRow(facts);
  const row: TenantRow = {
    ...base,
    state: "Removed",
    reasons: [],
    claims: [],
    ...(admitted === undefined && (old.state !== "Removed" || old.neverAdmitted) ? { neverAdmitted: true } : {}),
  };
  return {
    ...plan(facts, row),
    release: old.claims,
    tombstoneSlots: slottedIn(admitted?.record).map((protocol) => ({
      protocol,
      slot: old.slots[protocol]!,
      reason: "tenant removed",
    })),
    routes: [],
    dropRoutes: servedSlots(old, facts.cell),
  };
}

/** Slots that have a route from the last admitted record. */
const servedSlots = (row: TenantRow | undefined, cell: Cell): number[] =>
  row === undefined ? [] : admittedRoutes(row, cell).map((route) => route.slot);

function nextRow({ tenantId, row, hash, cell, now, batchId }: AdmissionFacts): TenantRow {
  const {
    blocked: _b,
    unproven: _u,
    retry: _r,
    invalid: _i,
    neverAdmitted: _n,
    spare,
    ...known
  }: TenantRow = row ?? {
    tenantId,
    version: 0,
    generation: 0,
    hash: absent,
    state: "Pending",
    reasons: [],
    cell: cell.name,
    slots: {},
    claims: [],
    at: now,
  };
  return {
    ...known,
    version: known.version + 1,
    generation: known.generation + (known.hash === hash ? 0 : 1),
    hash,
    cell: cell.name,
    at: now,
    batchId,
    ...(spare !== undefined && row?.cell === cell.name ? { spare } : {}),
  };
}

function plan(facts: AdmissionFacts, row: TenantRow): AdmissionPlan {
  const { version = 0, cell = "", spare = [], unproven } = facts.row ?? {};
  const over = unproven === undefined ? undefined : "over";
  const isOver = row.state === "Removed" || row.cell !== cell;
  return {
    kind: "write",
    expectedVersion: version,
    row,
    owner: ownerOf(row.admitted?.record ?? row),
    freeSlots: isOver ? spare.map((slot) => ({ cell, slot })) : [],
    claim: [],
    release: [],
    takeSlots: [],
    tombstoneSlots: [],
    routes: undefined,
    dropRoutes: [],
    proof: row.unproven === undefined ? over : "awaited",
  };
}
