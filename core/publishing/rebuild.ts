/** Computes the ledger from the snapshot, for a ledger that was restored from a backup or lost. */
import type { Cell } from "../../schemas/fleet.ts";
import { slotLimits } from "../../schemas/limits.ts";
import type { Route, RouteTarget } from "../../schemas/snapshot.ts";
import type { TenantRecord } from "../../schemas/tenant.ts";
import type { TenantRow } from "../admission/tenant-row.ts";
import { claimsOf, ownerOf, pointOf } from "../names/claims.ts";
import type { NameRules } from "../names/ownership.ts";
import { addHold, type Claimed, contestOf, type Hold, holdsOf, type Point } from "../names/points.ts";
import { kindOfSlot, type SlotKind, slotAt, slotsIn, slottedIn } from "../slots/numbering.ts";

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
  /** Claims of tenants that other cells serve. */
  claimedElsewhere: Claimed[];
  rules: NameRules;
  now: number;
}

export interface Rebuild {
  /** Rows to write. Admission evaluates each of them again. */
  rows: TenantRow[];
  claims: Claimed[];
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
  const taken = pointsOf([...fromRoutes.flatMap(claimsIn), ...facts.claimedElsewhere]);
  const lately = pointsOf(claimsBy(facts.recent, facts.rules));
  const isLost = (claimed: Claimed) =>
    [taken, lately].some((points) => contestOf(claimed.claim, claimed, points.get(pointOf(claimed.claim))));
  const others = rows
    .filter(({ tenantId }) => !served.has(tenantId))
    .map((row) => otherRow(row, isTaken, isLost, facts.now));
  const all = [...fromRoutes, ...others.map(({ row }) => row)].sort((a, b) => (a.tenantId < b.tenantId ? -1 : 1));
  const slots = all.flatMap(({ tenantId, slots: numbers, admitted }) =>
    Object.entries(numbers).map(([protocol, slot]) => {
      const givenUp = !slottedIn(admitted?.record).includes(protocol);
      return { slot, tenantId, protocol, givenUp };
    }),
  );
  const numbers = [...slots, ...facts.recent].map(({ slot }) => slot);
  const ofKind = (kind: SlotKind) => numbers.filter((slot) => kindOfSlot(slot) === kind);
  const counted = {
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
    claims: [...fromRoutes.flatMap(claimsIn), ...others.flatMap(({ claims }) => claims)],
    slots: slots.sort((a, b) => a.slot - b.slot),
    unknown: unknownBelow(counted, new Set(slots.map(({ slot }) => slot)), cell),
    taken: counted,
  };
}

const claimsIn = ({ tenantId, claims, admitted }: TenantRow): Claimed[] => {
  const owner = ownerOf(admitted?.record ?? { tenantId });
  return claims.map((claim) => ({ claim, tenantId, owner }));
};

/** Points that have these claims. Of those that exclude each other, the first. */
function pointsOf(claims: Claimed[]): Map<string, Point> {
  const points = new Map<string, Point>();
  for (const { claim, tenantId, owner } of claims) addHold(points, claim, { tenantId, owner, cell: "", since: 0 }, "");
  return points;
}

type IsTaken = (slot: number, tenantId: string) => boolean;

/** Whether a slot is served, or was lately served for another tenant. */
function takenBy(routes: Route[], recent: Route[]): IsTaken {
  const served = new Set(routes.map(({ slot }) => slot));
  const lately = Map.groupBy(recent, ({ slot }) => slot);
  return (slot, tenantId) => served.has(slot) || (lately.get(slot) ?? []).some((route) => route.tenantId !== tenantId);
}

/** The claims of what these routes serve, each tenant's once. */
export function claimsBy(routes: Route[], rules: NameRules): Claimed[] {
  const lists = [...Map.groupBy(routes, ({ tenantId, generation }) => `${tenantId} ${generation}`).values()];
  const all = lists.flatMap((list) => {
    const record = recordOf(list);
    const { tenantId } = record;
    return claimsOf(record, rules).map((claim): Claimed => ({ claim, tenantId, owner: ownerOf(record) }));
  });
  return [...new Map(all.map((claimed) => [`${claimed.tenantId} ${claimed.claim}`, claimed])).values()];
}

/** What the ledger has of the names before a rebuild, and what it must have afterwards. */
export interface PointFacts {
  cell: string;
  before: Point[];
  /** The rebuilt claims of the cell. */
  claims: Claimed[];
  /** What other cells serve. */
  elsewhere: Claimed[];
  /** What was published since the backup by tenants of any cell, the newest first, and which of them are the cell's. */
  recent: Claimed[];
  isHere: (tenantId: string) => boolean;
  now: number;
}

/**
 * The points of a cell's claims. What its tenants held before, or had published since the backup, and have no more is reserved
 * for them, as if they had just given it up: edges may still serve it. Holds of other cells stay. Both only unless what is
 * served, or was published since the backup, excludes them: then they were freed since.
 */
export function planPoints({ cell, before, claims, elsewhere, recent, isHere, now }: PointFacts): Point[] {
  const stamp = `rebuild ${cell} ${now}`;
  const held = before.flatMap((point) => holdsOf(point));
  const idOf = ({ tenantId, claim }: Pick<Claimed, "tenantId" | "claim">) => `${tenantId} ${claim}`;
  const since = new Map(held.map(({ claim, hold }) => [idOf({ claim, ...hold }), hold.since]));
  const points = new Map<string, Point>();
  const add = (claim: string, hold: Hold) => addHold(points, claim, hold, stamp);
  const newer = pointsOf([...claims, ...elsewhere, ...recent]);
  const isOver = ({ claim, ...claimant }: Claimed) =>
    contestOf(claim, claimant, newer.get(pointOf(claim))) !== undefined;
  const published = recent.filter(({ tenantId }) => isHere(tenantId));
  const holdOf = (claimed: Claimed): Hold => {
    const { tenantId, owner } = claimed;
    return { tenantId, owner, cell, since: since.get(idOf(claimed)) ?? now };
  };
  for (const claimed of claims) add(claimed.claim, holdOf(claimed));
  const planned = new Set(claims.map(idOf)); // its tenant may have been in another cell, or be kept there for a while
  const others = held.filter(({ claim, hold }) => hold.cell !== cell && !planned.has(idOf({ claim, ...hold })));
  for (const { claim, hold } of others) if (!isOver({ claim, ...hold })) add(claim, hold);
  const given = held.flatMap(({ claim, hold }) => (hold.cell === cell ? [{ claim, ...hold }] : []));
  for (const claimed of [...published, ...given])
    if (!planned.has(idOf(claimed)) && !isOver(claimed)) add(claimed.claim, { ...holdOf(claimed), releasedAt: now });
  const own = new Set([...claims, ...given, ...published].map(({ claim }) => pointOf(claim)));
  const grants = new Map(before.map(({ point, grant }) => [point, grant]));
  return [...points.values()]
    .filter(({ point }) => own.has(point))
    .map((point) => {
      const grant = grants.get(point.point);
      return grant === undefined ? point : { ...point, grant };
    });
}

function servedRow(
  row: TenantRow | undefined,
  list: Route[],
  isTaken: IsTaken,
  { cell, rules, now }: RebuildFacts,
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
    claims: claimsOf(record, rules),
    admitted: { generation, record },
    at: now,
  };
}

/** A tenant without a route is not served, whatever the ledger said: only its record decides what it is admitted with. */
function otherRow(
  row: TenantRow,
  isTaken: IsTaken,
  isLost: (claimed: Claimed) => boolean,
  now: number,
): { row: TenantRow; claims: Claimed[] } {
  const { spare: _s, blocked: _b, retry: _r, admitted: _a, ...rest } = row;
  const slots = Object.fromEntries(Object.entries(row.slots).filter(([, slot]) => !isTaken(slot, row.tenantId)));
  const kept = claimsIn(row).filter((claimed) => !isLost(claimed));
  const claims = kept.map(({ claim }) => claim);
  return { row: { ...rest, version: row.version + versionStep, hash: rebuilt, slots, claims, at: now }, claims: kept };
}

/** The part of a record that its routes contain. Admission compares a new record with no other part. */
function recordOf(routes: Route[]): TenantRecord {
  const [first] = routes;
  const named = routes.find(({ protocol }) => protocol === "tls");
  const regions = Object.keys(first!.backends).sort();
  const settingsIn = ({ backends, proxyProtocol, affinity, check }: RouteTarget, alpn?: string) => {
    const more = { alpn, proxyProtocol, affinity, check };
    const given = Object.fromEntries(Object.entries(more).filter(([, value]) => value !== undefined));
    return Object.keys(given).length === 0 ? portIn(backends) : { port: portIn(backends), ...given };
  };
  const byAlpn = Object.entries(named?.alpn ?? {});
  return {
    tenantId: first!.tenantId,
    hostnames: named?.hostnames ?? [],
    ...(named?.wildcards === undefined ? {} : { wildcards: named.wildcards }),
    ...(named?.account === undefined ? {} : { account: named.account }),
    ...(first!.allow === undefined ? {} : { allow: first!.allow }),
    ...(first!.sessionLimits === undefined ? {} : { sessionLimits: first!.sessionLimits }),
    homeRegion: regions[0]!,
    multiRegion: true,
    protocols: Object.fromEntries([
      ...routes.map((route) => [route.protocol, settingsIn(route)] as const),
      ...byAlpn.map(([alpn, target]) => [`by-alpn-${alpn}`, settingsIn(target, alpn)] as const),
    ]),
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
