import type { Cell } from "../../schemas/fleet.ts";
import type { Route } from "../../schemas/snapshot.ts";
import type { TenantRecord } from "../../schemas/tenant.ts";
import { claimsOf } from "./claims.ts";
import { routesOf } from "./routes.ts";
import { absent, type TenantRow } from "./tenant-row.ts";
import type { Validated } from "./validate.ts";

/** What admission read: the ledger's row first, then the record; `hash` is the record's canonical hash. */
export interface AdmissionFacts {
  tenantId: string;
  row: TenantRow | undefined;
  hash: string;
  record: Validated | undefined;
  cell: Cell;
  platformDomains: string[];
}

/** What to write, all of it on condition that the row is still at `expectedVersion` (0: there is none yet). */
export interface AdmissionPlan {
  kind: "write";
  expectedVersion: number;
  row: TenantRow;
  /** Names and zones to claim (or keep), and to release into quarantine. */
  claim: string[];
  release: string[];
  takeSlots: { protocol: string; slot: number }[];
  tombstoneSlots: { protocol: string; slot: number }[];
  /** The tenant's routes from now on; undefined leaves them as they are. */
  routes: Route[] | undefined;
  /** Slots whose route is no more. */
  dropRoutes: number[];
}

export type Admission = { kind: "unchanged"; row: TenantRow | undefined } | AdmissionPlan;

/** Protocols of the record that have no slot yet, in order. */
export function slotsWanted({ row, record, hash }: AdmissionFacts): string[] {
  if (row?.hash === hash || !record?.ok) return [];
  return Object.keys(record.record.protocols)
    .filter((protocol) => row?.slots[protocol] === undefined)
    .sort();
}

/** Decides what a tenant becomes. `fresh` are slots reserved for `slotsWanted`, by protocol. */
export function admit(facts: AdmissionFacts, fresh: Record<string, number>): Admission {
  const { row, hash, record } = facts;
  if (row === undefined && record === undefined) return { kind: "unchanged", row };
  if (row?.hash === hash) return { kind: "unchanged", row };
  if (record === undefined) return remove(facts, row!);
  return record.ok ? accept(facts, record.record, fresh) : refuse(facts, "Rejected", record.reasons);
}

/** The record can't be served: what was admitted before goes on, and the reasons are kept for whoever wrote it. */
export function refuse(facts: AdmissionFacts, state: "Rejected" | "Pending", reasons: string[]): AdmissionPlan {
  const row = nextRow(facts);
  return { ...plan(facts, { ...row, state, reasons }), claim: [], release: [], routes: undefined };
}

function accept(facts: AdmissionFacts, record: TenantRecord, fresh: Record<string, number>): AdmissionPlan {
  const base = nextRow(facts);
  const slots = { ...base.slots, ...fresh };
  const claims = claimsOf(record, facts.platformDomains);
  const routes = routesOf(record, base.generation, slots, facts.cell);
  const row: TenantRow = {
    ...base,
    state: record.suspended ? "Suspended" : "Admitted",
    reasons: [],
    slots,
    claims,
    admitted: { generation: base.generation, record },
  };
  const served = new Set(routes.map((route) => route.slot));
  return {
    ...plan(facts, row),
    claim: claims,
    release: base.claims.filter((name) => !claims.includes(name)),
    takeSlots: Object.entries(slots).map(([protocol, slot]) => ({ protocol, slot })),
    routes,
    dropRoutes: Object.values(slots).filter((slot) => !served.has(slot)),
  };
}

function remove(facts: AdmissionFacts, old: TenantRow): AdmissionPlan {
  const { admitted: _, ...base } = nextRow(facts);
  const row: TenantRow = { ...base, state: "Removed", reasons: [], claims: [] };
  return {
    ...plan(facts, row),
    release: old.claims,
    tombstoneSlots: Object.entries(old.slots).map(([protocol, slot]) => ({ protocol, slot })),
    routes: [],
    dropRoutes: Object.values(old.slots),
  };
}

function nextRow({ tenantId, row, hash, record, cell }: AdmissionFacts): TenantRow {
  const base: TenantRow = row ?? {
    tenantId,
    version: 0,
    generation: 0,
    hash: absent,
    state: "Pending",
    reasons: [],
    cell: cell.name,
    slots: {},
    claims: [],
  };
  return {
    ...base,
    version: base.version + 1,
    generation: base.generation + 1,
    hash: record === undefined ? absent : hash,
  };
}

function plan(facts: AdmissionFacts, row: TenantRow): AdmissionPlan {
  return {
    kind: "write",
    expectedVersion: facts.row?.version ?? 0,
    row,
    claim: [],
    release: [],
    takeSlots: [],
    tombstoneSlots: [],
    routes: undefined,
    dropRoutes: [],
  };
}
