/**
 * The laws of Landfall as assertions (docs/architecture.md lists them). They run in production, too: each one throws
 * before a write that would break a law, prevents only that write, and names the law.
 */
import { snapshotLimits } from "../schemas/limits.ts";
import type { Route } from "../schemas/snapshot.ts";
import type { AdmissionPlan } from "./admission/admit.ts";
import type { TenantRow } from "./admission/tenant-row.ts";
import { canonicalJson } from "./canonical.ts";
import type { Edge } from "./edges/edge.ts";
import { type Change, written } from "./failover/changes.ts";
import type { Observed } from "./failover/model.ts";
import { namesOf } from "./names/claims.ts";
import type { Commit } from "./publishing/commit.ts";
import type { PublishPlan } from "./publishing/plan.ts";
import { kindOf, kindOfSlot, slottedIn } from "./slots/numbering.ts";

export const laws = {
  1: "a slot never has two tenants",
  2: "a hostname has at most one tenant",
  3: "no generation decreases",
  4: "no commit changes a route of a tenant that did not change",
  5: "no write removes a listener's last healthy endpoint, and none sends an empty list",
  6: "missing information never causes a withdrawal",
  7: "a handler may run twice, late, or concurrently with itself",
  9: "same state, same bytes",
  11: "a report counts for its own edge only",
} as const;
export type Law = keyof typeof laws;

/** A write would break a law, and is not made. Landfall has a fault, or another program has written the ledger. */
export class LawBrokenError extends Error {
  override readonly name = "LawBrokenError";
  readonly law: Law;
  constructor(law: Law, what: string) {
    super(`law ${law} (${laws[law]}): ${what}`);
    this.law = law;
  }
}

function holds(law: Law, condition: boolean, what: () => string): void {
  if (!condition) throw new LawBrokenError(law, what());
}

const repeated = <T>(items: T[]): T | undefined => items.find((item, index) => items.indexOf(item) !== index);

/** A row as it was read from the ledger. */
export function assertRow(row: TenantRow): void {
  const { tenantId, version, generation, slots, spare = [], admitted } = row;
  holds(7, version >= 1, () => `the row of ${tenantId} has version ${version}`);
  holds(3, (admitted?.generation ?? 0) <= generation, () => {
    return `${tenantId} is admitted at generation ${admitted?.generation}, its record is at ${generation}`;
  });
  const numbers = [...Object.values(slots), ...spare];
  holds(1, repeated(numbers) === undefined, () => `${tenantId} has slot ${repeated(numbers)} twice`);
  for (const protocol of slottedIn(admitted?.record))
    holds(1, Object.hasOwn(slots, protocol), () => `${tenantId} is admitted with ${protocol} and has no slot for it`);
  for (const [protocol, slot] of Object.entries(slots))
    holds(1, kindOfSlot(slot) === kindOf(protocol), () => `${tenantId} has slot ${slot} for ${protocol}`);
}

/** An admission, right before it is written over `before`, the row that it was decided from. */
export function assertAdmission(plan: AdmissionPlan, before: TenantRow | undefined): void {
  const { row, claim, release, takeSlots, tombstoneSlots, freeSlots, routes, dropRoutes } = plan;
  const { tenantId, slots, claims } = row;
  assertRow(row);
  const version = before?.version ?? 0;
  holds(7, plan.expectedVersion === version && row.version === version + 1, () => {
    return `${tenantId}: version ${row.version} over ${version}, expecting ${plan.expectedVersion}`;
  });
  holds(3, row.generation >= (before?.generation ?? 0), () => `${tenantId} goes back to generation ${row.generation}`);
  for (const name of claim)
    holds(2, claims.includes(name) && !release.includes(name), () => `${tenantId} claims ${name} and does not keep it`);
  for (const name of release) holds(2, !claims.includes(name), () => `${tenantId} releases ${name} and keeps it`);
  holds(
    9,
    claims.every((name, index) => index === 0 || claims[index - 1]! < name),
    () => {
      return `the claims of ${tenantId} are not in order`;
    },
  );
  for (const { protocol, slot } of takeSlots)
    holds(1, slots[protocol] === slot, () => `${tenantId} takes slot ${slot}, its ${protocol} has ${slots[protocol]}`);
  const served = new Set(slottedIn(row.admitted?.record).map((protocol) => slots[protocol]));
  for (const { slot } of tombstoneSlots)
    holds(1, !served.has(slot), () => `${tenantId} gives up slot ${slot} and is admitted with it`);
  const own = [...Object.values(slots), ...(row.spare ?? [])];
  for (const { cell, slot } of freeSlots)
    holds(1, cell !== row.cell || !own.includes(slot), () => `${tenantId} frees slot ${slot} and has it`);
  for (const route of routes ?? []) assertRouteOf(row, route);
  for (const slot of dropRoutes)
    holds(4, !(routes ?? []).some((route) => route.slot === slot), () => {
      return `${tenantId}: the route of slot ${slot} is both written and removed`;
    });
}

function assertRouteOf({ tenantId, slots, claims, generation }: TenantRow, route: Route): void {
  const what = () => `the route of slot ${route.slot} is not one of ${tenantId}`;
  holds(1, route.tenantId === tenantId && slots[route.protocol] === route.slot, what);
  holds(4, route.generation === generation, () => `the route of slot ${route.slot} has generation ${route.generation}`);
  for (const name of namesOf(route))
    holds(2, claims.includes(name), () => `${tenantId} would serve ${name} without a claim`);
}

const routesOf = (routes: Route[], tenantId: string) =>
  routes.filter((route) => route.tenantId === tenantId).toSorted((a, b) => a.slot - b.slot);
const isSame = (a: Route[], b: Route[]) => canonicalJson(a) === canonicalJson(b);

/** A publication, right before its objects are put and it is committed over `live`. */
export function assertPublishPlan({ buckets, withheld, commit }: PublishPlan, live: Commit | undefined): void {
  const { generation, incarnation, routes } = commit;
  if (live !== undefined && commit !== live) {
    holds(3, generation === live.generation + 1, () => `generation ${generation} follows ${live.generation}`);
    holds(3, incarnation === live.incarnation, () => `incarnation ${incarnation} follows ${live.incarnation}`);
  }
  holds(4, routes.length === snapshotLimits.bucketCount, () => `the commit names ${routes.length} buckets`);
  const put = new Map(
    buckets.map(({ bucket, hash, objects, held }) => [
      bucket,
      objects.some((object) => object.hash === hash) || held.includes(hash) ? hash : undefined,
    ]),
  );
  for (const [bucket, hash] of routes.entries())
    holds(
      4,
      hash === (put.has(bucket) ? put.get(bucket) : live?.routes[bucket]),
      () => `bucket ${bucket} changes without an object`,
    );
  for (const { bucket, routes: list, before } of buckets) {
    for (const { tenantId } of withheld.find((refused) => refused.bucket === bucket)?.tenants ?? [])
      holds(
        4,
        isSame(routesOf(list, tenantId), routesOf(before, tenantId)),
        () => `${tenantId} was refused and changes`,
      );
    const slots = list.map(({ slot }) => slot);
    holds(1, new Set(slots).size === slots.length, () => `bucket ${bucket} has a slot twice`);
    const owners = new Map<string, string>();
    for (const route of list)
      for (const name of namesOf(route)) {
        const owner = owners.get(name) ?? route.tenantId;
        holds(2, owner === route.tenantId, () => `${name} leads to ${owner} and to ${route.tenantId}`);
        owners.set(name, owner);
      }
  }
}

/**
 * A write of an endpoint group, right before it is sent to an accelerator that shows `observed`. `gone` are edges whose
 * instances are terminated, or will be.
 */
export function assertChange(change: Change, observed: Observed, gone: ReadonlySet<string>): void {
  const { region, endpoints } = change;
  const ids = endpoints.map(({ edgeId }) => edgeId);
  holds(5, endpoints.length > 0, () => `the list of ${region} would be empty`);
  holds(5, repeated(ids) === undefined, () => `${repeated(ids)} is twice in the list of ${region}`);
  for (const { edgeId, weight } of endpoints)
    holds(5, Number.isInteger(weight) && weight >= 0 && weight <= 255, () => `${edgeId} would have weight ${weight}`);
  const group = observed.groups.find((candidate) => candidate.region === region);
  for (const { edgeId } of group?.endpoints ?? [])
    holds(6, ids.includes(edgeId) || gone.has(edgeId), () => `${edgeId} is not terminated and would be removed`);
  const takers = ({ groups }: Observed) =>
    groups
      .filter(({ dial }) => dial > 0)
      .flatMap((candidate) => candidate.endpoints)
      .filter(({ weight, health }) => weight > 0 && health === "HEALTHY");
  holds(5, takers(observed).length === 0 || takers(written(observed, change)).length > 0, () => {
    return `no healthy endpoint would be left after the write of ${region}`;
  });
}

/** An edge's row after a report of `edgeId`, right before it is written over `before`. */
export function assertReport(after: Edge, before: Edge | undefined, edgeId: string, cell: string): void {
  holds(11, after.edgeId === edgeId && after.cell === cell, () => `a report of ${edgeId} changes ${after.edgeId}`);
  holds(3, after.appliedGeneration >= (before?.appliedGeneration ?? 0), () => {
    return `${edgeId} goes back from generation ${before?.appliedGeneration} to ${after.appliedGeneration}`;
  });
}

/** A tombstone, right before it is freed: every edge and every region's manifest is past the last commit that had it. */
export function assertFree(what: string, absentFrom: number | undefined, servedFrom: number): void {
  holds(1, absentFrom !== undefined && servedFrom >= absentFrom, () => {
    return `${what} is absent from generation ${absentFrom}, and generation ${servedFrom} is still served`;
  });
}
