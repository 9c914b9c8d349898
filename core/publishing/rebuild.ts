/** Computes the ledger from the snapshot, for a ledger that was restored from a backup or lost. */
import type { Cell } from "../../schemas/fleet.ts";
import { slotLimits } from "../../schemas/limits.ts";
import type { Route } from "../../schemas/snapshot.ts";
import type { TenantRecord } from "../../schemas/tenant.ts";
import { claimsOf } from "../admission/claims.ts";
import type { TenantRow } from "../admission/tenant-row.ts";
import { kindOfSlot, type SlotKind, slotAt, slotsIn } from "../slots/numbering.ts";

export interface RebuildFacts {
  cell: Cell;
  /** Every route of the newest manifest. */
  routes: Route[];
  /** The ledger's rows of this cell. */
  rows: TenantRow[];
  taken: Record<SlotKind, number>;
  /**
   * Routes that were published since the backup, in any cell: an edge that lags may still serve one that no newest manifest
   * has.
   */
  recent: Route[];
  /** Names and zones of tenants that other cells serve. */
  claimedElsewhere: ReadonlySet<string>;
  platformDomains: string[];
  now: number;
}

export interface Rebuild {
  /** Rows to write. Admission evaluates each of them again. */
  rows: TenantRow[];
  claims: { claim: string; tenantId: string }[];
  slots: { slot: number; tenantId: string; protocol: string; givenUp: boolean }[];
  /** Slots that were handed out and that no known tenant holds. Kept until every edge acked, like any other slot. */
  unknown: number[];
  taken: Record<SlotKind, number>;
}

/** More versions than a concurrent admission can have written: the version that it read before never matches again. */
const versionStep = 1_000_000;

/** A hash that no record has: admission evaluates the row again, and its generation grows. */
const rebuilt = "rebuilt";

/**
 * The served snapshot decides: its slots and names belong to the tenants that it names, even if the ledger gives them
 * to other tenants. A tenant that it does not name keeps its other slots, given up, and its names until admission evaluates
 * its record.
 */
export function planRebuild(facts: RebuildFacts): Rebuild {
  const { cell, routes, rows } = facts;
  const served = Map.groupBy(routes, ({ tenantId }) => tenantId);
  const known = new Map(rows.map((row) => [row.tenantId, row]));
  const isTaken = takenBy(routes, facts.recent);
  const fromRoutes = [...served].map(([tenantId, list]) => servedRow(known.get(tenantId), list, isTaken, facts));
  const claimants = new Set(fromRoutes.flatMap(({ claims }) => claims));
  const lately = claimsBy(facts.recent, facts.platformDomains);
  const isLost = (claim: string, tenantId: string) =>
    claimants.has(claim) || facts.claimedElsewhere.has(claim) || (lately.get(claim) ?? tenantId) !== tenantId;
  const others = rows
    .filter(({ tenantId }) => !served.has(tenantId))
    .map((row) => otherRow(row, isTaken, isLost, facts.now));
  const all = [...fromRoutes, ...others].sort((a, b) => (a.tenantId < b.tenantId ? -1 : 1));
  const slots = all.flatMap(({ tenantId, slots: numbers, admitted }) =>
    Object.entries(numbers).map(([protocol, slot]) => {
      const givenUp = !Object.hasOwn(admitted?.record.protocols ?? {}, protocol);
      return { slot, tenantId, protocol, givenUp };
    }),
  );
  const numbers = [...slots, ...facts.recent].map(({ slot }) => slot);
  const ofKind = (kind: SlotKind) => numbers.filter((slot) => kindOfSlot(slot) === kind);
  const taken = {
    raw: Math.min(countOf(facts.taken.raw, ofKind("raw")), slotsIn(cell, "raw")),
    tls: Math.min(
      countOf(
        facts.taken.tls,
        ofKind("tls").map((slot) => slot - slotLimits.tlsSlotBase),
      ),
      slotsIn(cell, "tls"),
    ),
  };
  return {
    rows: all,
    claims: all.flatMap(({ tenantId, claims }) => claims.map((claim) => ({ claim, tenantId }))),
    slots: slots.sort((a, b) => a.slot - b.slot),
    unknown: unknownBelow(taken, new Set(slots.map(({ slot }) => slot)), cell),
    taken,
  };
}

type IsTaken = (slot: number, tenantId: string) => boolean;

/** Whether a slot is served, or was lately served for another tenant. */
function takenBy(routes: Route[], recent: Route[]): IsTaken {
  const served = new Set(routes.map(({ slot }) => slot));
  const lately = Map.groupBy(recent, ({ slot }) => slot);
  return (slot, tenantId) => served.has(slot) || (lately.get(slot) ?? []).some((route) => route.tenantId !== tenantId);
}

/** The names and zones that these routes serve, each with one tenant. */
export function claimsBy(routes: Route[], platformDomains: string[]): Map<string, string> {
  const lists = [...Map.groupBy(routes, ({ tenantId, generation }) => `${tenantId} ${generation}`).values()];
  return new Map(
    lists.flatMap((list) => claimsOf(recordOf(list), platformDomains).map((claim) => [claim, list[0]!.tenantId])),
  );
}

/**
 * Names and zones that were published since the backup, and that no tenant has any more. They are reserved for their last
 * tenants as if these had just given them up.
 */
export function releasedSince(
  recent: Route[],
  rows: Pick<TenantRow, "tenantId" | "claims">[],
  isClaimed: (claim: string) => boolean,
  platformDomains: string[],
): { claim: string; tenantId: string }[] {
  const held = new Set(rows.flatMap(({ tenantId, claims }) => claims.map((claim) => `${tenantId} ${claim}`)));
  return [...claimsBy(recent, platformDomains)]
    .filter(([claim, tenantId]) => !isClaimed(claim) && !held.has(`${tenantId} ${claim}`))
    .map(([claim, tenantId]) => ({ claim, tenantId }));
}

function servedRow(
  row: TenantRow | undefined,
  list: Route[],
  isTaken: IsTaken,
  { cell, platformDomains, now }: RebuildFacts,
): TenantRow {
  const record = recordOf(list);
  const generation = Math.max(...list.map((route) => route.generation));
  const slots = row?.cell === cell.name ? row.slots : {};
  const own = Object.entries(slots).filter(([, slot]) => !isTaken(slot, record.tenantId)); // perhaps by its other protocol
  return {
    tenantId: record.tenantId,
    version: (row?.version ?? 0) + versionStep,
    generation: Math.max(row?.generation ?? 0, generation),
    hash: rebuilt,
    state: "Admitted",
    reasons: [],
    cell: cell.name,
    slots: { ...Object.fromEntries(own), ...Object.fromEntries(list.map(({ protocol, slot }) => [protocol, slot])) },
    claims: claimsOf(record, platformDomains),
    admitted: { generation, record },
    at: now,
  };
}

/** A tenant without a route is not served, whatever the ledger said: only its record decides what it is admitted with. */
function otherRow(
  { spare: _s, blocked: _b, retry: _r, admitted: _a, ...row }: TenantRow,
  isTaken: IsTaken,
  isLost: (claim: string, tenantId: string) => boolean,
  now: number,
): TenantRow {
  const slots = Object.fromEntries(Object.entries(row.slots).filter(([, slot]) => !isTaken(slot, row.tenantId)));
  const claims = row.claims.filter((claim) => !isLost(claim, row.tenantId));
  return { ...row, version: row.version + versionStep, hash: rebuilt, slots, claims, at: now };
}

/** The part of a record that its routes contain. Admission compares a new record with no other part. */
function recordOf(routes: Route[]): TenantRecord {
  const [first] = routes;
  const named = routes.find(({ protocol }) => protocol === "tls");
  const regions = Object.keys(first!.backends).sort();
  return {
    tenantId: first!.tenantId,
    hostnames: named?.hostnames ?? [],
    ...(named?.wildcard === undefined ? {} : { wildcard: named.wildcard }),
    homeRegion: regions[0]!,
    multiRegion: true,
    protocols: Object.fromEntries(routes.map(({ protocol, backends }) => [protocol, portIn(backends)])),
    backends: Object.fromEntries(
      regions.map((region) => [
        region,
        first!.backends[region]!.map((backend) => backend.replace(/:\d+$/, "").replace(/^\[|\]$/g, "")),
      ]),
    ),
  };
}

const portIn = (backends: Route["backends"]) => Number(/\d+$/.exec(Object.values(backends)[0]?.[0] ?? "")?.[0]);

const countOf = (taken: number, numbers: number[]) => Math.max(taken, ...numbers.map((number) => number + 1));

function unknownBelow(taken: Record<SlotKind, number>, known: Set<number>, cell: Cell): number[] {
  const numbers = (["raw", "tls"] as const).flatMap((kind) =>
    Array.from({ length: taken[kind] }, (_, number) => slotAt(cell, kind, number) ?? -1),
  );
  return numbers.filter((slot) => slot >= 0 && !known.has(slot));
}
