/** Admission's part of the ledger: tenant rows, claims, slots and routes, written in one transaction. */
import { TransactWriteCommand, type TransactWriteCommandInput } from "@aws-sdk/lib-dynamodb";
import type { AdmissionPlan } from "../../core/admission/admit.ts";
import type { TenantRow } from "../../core/admission/tenant-row.ts";
import { assertAdmission } from "../../core/assert.ts";
import { RowChangedError } from "../../core/errors.ts";
import { type Contest, contestOf, type Point } from "../../core/names/points.ts";
import { bucketOf } from "../../core/routes/buckets.ts";
import { kindOf, kindOfSlot } from "../../core/slots/numbering.ts";
import { tenantLimits } from "../../schemas/limits.ts";
import type { Route } from "../../schemas/snapshot.ts";
import { batchGet, documents, failedConditions } from "../documents.ts";
import { environment } from "../settings.ts";
import { keys } from "./keys.ts";
import { pointWrites, readPoints } from "./names.ts";
import type { Awaited } from "./proofs.ts";

const TableName = environment.LANDFALL_LEDGER_TABLE;
type Write = NonNullable<TransactWriteCommandInput["TransactItems"]>[number];

export type RouteItem = { route: Route } | { removed: { slot: number; tenantId: string; generation: number } };

/** Rows by tenant. Tenants without a row are absent. */
export async function readTenantRows(tenantIds: string[]): Promise<Map<string, TenantRow>> {
  const items = await batchGet<{ row: TenantRow }>(TableName, tenantIds.map(keys.tenant));
  return new Map(items.map(({ row }) => [row.tenantId, row]));
}
export const readTenantRow = async (tenantId: string) => (await readTenantRows([tenantId])).get(tenantId);

/** `lost` are slots of the plan that other tenants have. */
export type Applied = { ok: true } | { ok: false; contests: Contest[]; lost: number[] };

/**
 * Writes the plan as one transaction, over the row `before`. If other tenants' holds prevent claims, or slots of the plan are
 * other tenants', it returns these and writes nothing. New names are taken to be nobody's; those for which that is wrong are read, and the write is tried again.
 * @throws RowChangedError when the row is no longer `before`, or when the names change all the time
 * @throws LawBrokenError when the plan would break a law
 */
export async function applyAdmission(
  plan: AdmissionPlan,
  before: TenantRow | undefined,
  now: number,
): Promise<Applied> {
  assertAdmission(plan, before);
  const { tenantId } = plan.row;
  const known = new Map<string, Point>();
  let cause: unknown;
  for (let attempt = 0; attempt < tenantLimits.claimAttemptsMax; attempt++) {
    const names = pointWrites(plan, known, now);
    const writes = transactionOf(
      plan,
      names.map(({ write }) => write),
      now,
    );
    try {
      await documents.send(new TransactWriteCommand({ TransactItems: writes }));
      return { ok: true };
    } catch (error) {
      const failed = failedConditions(error);
      if (failed === undefined) throw error; // a conflict or a throttle passes: the tenant is deferred
      cause = error;
      const at = failed.map((index) => names[index - 1]); // the row is the first write, slots come after the names
      const lost = failed.flatMap((index) => plan.takeSlots[index - 1 - names.length]?.slot ?? []);
      if (lost.length > 0 && !failed.includes(0)) return { ok: false, contests: [], lost };
      if (at.includes(undefined)) throw changed(plan, error);
      const points = await readPoints(at.map((name) => name!.point));
      for (const name of at) known.delete(name!.point);
      for (const [point, found] of points) known.set(point, found);
      const contests = at.flatMap((name) =>
        name!.claims.flatMap(
          (claim) => contestOf(claim, { tenantId, owner: plan.owner }, points.get(name!.point)) ?? [],
        ),
      );
      if (contests.length > 0) return { ok: false, contests, lost: [] };
    }
  }
  throw changed(plan, cause);
}

/**
 * Writes plans of several tenants as one transaction. Throws when anything is in the way of one of them, such as a name that is
 * not nobody's: each plan tells what when it is applied alone.
 */
export async function applyTogether(
  plans: { plan: AdmissionPlan; before: TenantRow | undefined; now: number }[],
): Promise<void> {
  const writes = plans.flatMap(({ plan, before, now }) => {
    assertAdmission(plan, before);
    const names = pointWrites(plan, new Map(), now);
    return transactionOf(
      plan,
      names.map(({ write }) => write),
      now,
    );
  });
  await documents.send(new TransactWriteCommand({ TransactItems: writes }));
}

const changed = ({ row, expectedVersion }: AdmissionPlan, cause: unknown) =>
  new RowChangedError(`tenant ${row.tenantId} changed since version ${expectedVersion}`, { cause });

/** The note that tells `prove-names` what to look for. */
function proofWrites({ row, proof }: AdmissionPlan, now: number): Write[] {
  const key = keys.unprovenTenant(row.tenantId);
  if (proof === "over") return [{ Delete: { TableName, Key: key } }];
  if (proof === undefined) return [];
  const awaited: Awaited = { tenantId: row.tenantId, names: row.unproven ?? [], looks: 0, nextAt: now };
  return [{ Put: { TableName, Item: { ...key, ...awaited } } }];
}

/** The row first, then names, slots and routes. */
function transactionOf(plan: AdmissionPlan, names: Write[], now: number): Write[] {
  const { row } = plan;
  const { tenantId, cell } = row;
  const bucket = bucketOf(tenantId);
  const put = (Item: Record<string, unknown>, condition?: string, values?: Record<string, unknown>): Write => ({
    Put: {
      TableName,
      Item,
      ...(condition === undefined ? {} : { ConditionExpression: condition }),
      ...(values === undefined ? {} : { ExpressionAttributeValues: values }),
    },
  });
  const mine = { ":tenant": tenantId };
  const atVersion = { ":version": plan.expectedVersion };
  return [
    plan.expectedVersion === 0
      ? put({ ...keys.tenant(tenantId), version: row.version, row }, "attribute_not_exists(pk)")
      : put({ ...keys.tenant(tenantId), version: row.version, row }, "version = :version", atVersion),
    ...names,
    ...plan.takeSlots.map(({ protocol, slot }) =>
      put({ ...keys.slot(cell, slot), tenantId, protocol }, "attribute_not_exists(pk) OR tenantId = :tenant", mine),
    ),
    ...plan.takeSlots
      .filter(({ free }) => free)
      .map(({ protocol, slot }) => ({
        Delete: {
          TableName,
          Key: keys.freeSlot(cell, kindOf(protocol), slot),
          ConditionExpression: "attribute_exists(pk)",
        },
      })),
    ...plan.tombstoneSlots.map(({ protocol, slot, reason }) =>
      put({ ...keys.slot(cell, slot), tenantId, protocol, tombstone: { at: now, reason } }, "tenantId = :tenant", mine),
    ),
    ...proofWrites(plan, now),
    ...plan.freeSlots.map(({ cell: of, slot }) => put(keys.freeSlot(of, kindOfSlot(slot), slot))),
    ...(plan.routes ?? []).map((route) => put({ ...keys.route(cell, bucket, route.slot), route })),
    ...plan.dropRoutes.map((slot) =>
      put({ ...keys.route(cell, bucket, slot), removed: { slot, tenantId, generation: row.generation } }),
    ),
  ];
}
