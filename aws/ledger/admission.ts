/** Admission's part of the ledger: tenant rows, claims, slots and routes, written in one transaction. */
import { TransactWriteCommand, type TransactWriteCommandInput } from "@aws-sdk/lib-dynamodb";
import type { AdmissionPlan } from "../../core/admission/admit.ts";
import type { TenantRow } from "../../core/admission/tenant-row.ts";
import { assertAdmission } from "../../core/assert.ts";
import { RowChangedError } from "../../core/errors.ts";
import { bucketOf } from "../../core/routes/buckets.ts";
import { kindOf, kindOfSlot } from "../../core/slots/numbering.ts";
import type { Route } from "../../schemas/snapshot.ts";
import { batchGet, documents, failedConditions } from "../documents.ts";
import { environment } from "../settings.ts";
import { keys } from "./keys.ts";

const TableName = environment.LANDFALL_LEDGER_TABLE;
type Write = NonNullable<TransactWriteCommandInput["TransactItems"]>[number];

export type RouteItem = { route: Route } | { removed: { slot: number; tenantId: string; generation: number } };

/** Rows by tenant. Tenants without a row are absent. */
export async function readTenantRows(tenantIds: string[]): Promise<Map<string, TenantRow>> {
  const items = await batchGet<{ row: TenantRow }>(TableName, tenantIds.map(keys.tenant));
  return new Map(items.map(({ row }) => [row.tenantId, row]));
}
export const readTenantRow = async (tenantId: string) => (await readTenantRows([tenantId])).get(tenantId);

export interface LostClaim {
  claim: string;
  /** Its owner gave it up, and only that owner may claim it again. */
  released: boolean;
}
export type Applied = { ok: true } | { ok: false; claims: LostClaim[] };

/**
 * Writes the plan as one transaction, over the row `before`. If claims belong to other tenants, it returns them and
 * writes nothing.
 * @throws RowChangedError when the row is no longer `before`
 * @throws LawBrokenError when the plan would break a law
 */
export async function applyAdmission(
  plan: AdmissionPlan,
  before: TenantRow | undefined,
  now: number,
): Promise<Applied> {
  assertAdmission(plan, before);
  const writes = transactionOf(plan, now);
  try {
    await documents.send(new TransactWriteCommand({ TransactItems: writes.map(({ write }) => write) }));
    return { ok: true };
  } catch (error) {
    const failed = failedConditions(error);
    if (failed === undefined) throw error; // a conflict or a throttle passes: the tenant is deferred
    const claims = failed.flatMap(({ index, old }) => {
      const claim = writes[index]?.claim;
      return claim === undefined ? [] : [{ claim, released: old?.releasedAt !== undefined }];
    });
    if (claims.length > 0 && !failed.some(({ index }) => index === 0)) return { ok: false, claims };
    throw new RowChangedError(`tenant ${plan.row.tenantId} changed since version ${plan.expectedVersion}`, {
      cause: error,
    });
  }
}

/** The row first, then claims, slots and routes. */
function transactionOf(plan: AdmissionPlan, now: number): { write: Write; claim?: string }[] {
  const { row } = plan;
  const { tenantId, cell } = row;
  const bucket = bucketOf(tenantId);
  const put = (Item: Record<string, unknown>, condition?: string, values?: Record<string, unknown>): Write => ({
    Put: {
      TableName,
      Item,
      ...(condition === undefined ? {} : { ConditionExpression: condition }),
      ...(values === undefined ? {} : { ExpressionAttributeValues: values }),
      ReturnValuesOnConditionCheckFailure: "ALL_OLD",
    },
  });
  const mine = { ":tenant": tenantId };
  const atVersion = { ":version": plan.expectedVersion };
  return [
    {
      write:
        plan.expectedVersion === 0
          ? put({ ...keys.tenant(tenantId), version: row.version, row }, "attribute_not_exists(pk)")
          : put({ ...keys.tenant(tenantId), version: row.version, row }, "version = :version", atVersion),
    },
    ...plan.claim.map((claim) => ({
      write: put({ ...keys.claim(claim), tenantId, cell }, "attribute_not_exists(pk) OR tenantId = :tenant", mine),
      claim,
    })),
    ...plan.release.map((claim) => ({
      write: put({ ...keys.claim(claim), tenantId, cell, releasedAt: now }, "tenantId = :tenant", mine),
    })),
    ...plan.takeSlots.map(({ protocol, slot }) => ({
      write: put(
        { ...keys.slot(cell, slot), tenantId, protocol },
        "attribute_not_exists(pk) OR tenantId = :tenant",
        mine,
      ),
    })),
    ...plan.takeSlots
      .filter(({ free }) => free)
      .map(({ protocol, slot }) => ({
        write: {
          Delete: {
            TableName,
            Key: keys.freeSlot(cell, kindOf(protocol), slot),
            ConditionExpression: "attribute_exists(pk)",
          },
        },
      })),
    ...plan.tombstoneSlots.map(({ protocol, slot, reason }) => ({
      write: put(
        { ...keys.slot(cell, slot), tenantId, protocol, tombstone: { at: now, reason } },
        "tenantId = :tenant",
        mine,
      ),
    })),
    ...plan.freeSlots.map(({ cell: of, slot }) => ({ write: put(keys.freeSlot(of, kindOfSlot(slot), slot)) })),
    ...(plan.routes ?? []).map((route) => ({ write: put({ ...keys.route(cell, bucket, route.slot), route }) })),
    ...plan.dropRoutes.map((slot) => ({
      write: put({ ...keys.route(cell, bucket, slot), removed: { slot, tenantId, generation: row.generation } }),
    })),
  ];
}
