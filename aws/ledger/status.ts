/** A tenant's observed state, beside its row: written when a rollout settles and when an edge refuses its routes. */
import { DeleteCommand, PutCommand, TransactWriteCommand, UpdateCommand } from "@aws-sdk/lib-dynamodb";
import type { TenantRow } from "../../core/admission/tenant-row.ts";
import type { Announced, Served } from "../../core/rollout/settle.ts";
import { tenantLimits } from "../../schemas/limits.ts";
import { batchGet, batchPut, documents, failedConditions, isCancelled, isConditionFailed } from "../documents.ts";
import { inParallel, slicesOf } from "../parallel.ts";
import { environment } from "../settings.ts";
import { keys } from "./keys.ts";
import { queryAll } from "./query.ts";

const TableName = environment.LANDFALL_LEDGER_TABLE;

export interface TenantStatus {
  observedGeneration: number;
  /** The cell's generation that carries it. */
  snapshotGeneration: number;
  served: Served;
  /** Regions whose edges all serve it, and regions that have edges to wait for. */
  regions: string[];
  regionsCounted: string[];
  /** Counted edges that do not serve it, as `edge (region): reason`. */
  missing: string[];
  /** The batch that settled it. It has the trace. */
  batchId: string;
  /** Milliseconds since 1970. */
  startedAt: number;
  committedAt: number;
  settledAt: number;
}

/**
 * Writes statuses, each unless the ledger has one of a newer generation or one that settled later. Many go in one call, which
 * costs twice the units; where one of them is in the way of the others, each goes alone.
 */
export async function writeStatuses(statuses: { tenantId: string; status: TenantStatus }[]): Promise<void> {
  await inParallel(slicesOf(statuses, tenantLimits.transactionWritesMax), async (slice) => {
    const together = slice.map((one) => ({ Update: statusWrite(one) }));
    try {
      if (slice.length > 1) return void (await documents.send(new TransactWriteCommand({ TransactItems: together })));
    } catch (error) {
      if (!isCancelled(error)) throw error;
    }
    await inParallel(slice, writeStatus);
  });
}

async function writeStatus(one: { tenantId: string; status: TenantStatus }): Promise<void> {
  try {
    await documents.send(new UpdateCommand(statusWrite(one)));
  } catch (error) {
    if (!isConditionFailed(error)) throw error;
  }
}

const statusWrite = ({ tenantId, status }: { tenantId: string; status: TenantStatus }) => ({
  TableName,
  Key: keys.status(tenantId),
  UpdateExpression: "SET observed = :status, observedGeneration = :generation, settledAt = :at, tenantId = :tenant",
  ConditionExpression:
    "attribute_not_exists(observedGeneration) OR observedGeneration < :generation OR (observedGeneration = :generation AND settledAt <= :at)",
  ExpressionAttributeValues: {
    ":status": status,
    ":generation": status.observedGeneration,
    ":at": status.settledAt,
    ":tenant": tenantId,
  },
});

/** Removes the status of a generation that the tenant's row does not have, and the note of what was announced. */
export async function removeStatus(tenantId: string, generation: number): Promise<void> {
  try {
    await documents.send(
      new TransactWriteCommand({
        TransactItems: [
          {
            Delete: {
              TableName,
              Key: keys.status(tenantId),
              ConditionExpression: "observedGeneration = :generation",
              ExpressionAttributeValues: { ":generation": generation },
            },
          },
          { Delete: { TableName, Key: keys.announced(tenantId) } },
        ],
      }),
    );
  } catch (error) {
    if (failedConditions(error) === undefined) throw error; // a rollout has settled since
  }
}

/** An edge's refusal of a tenant's route. */
export interface Refusal {
  edgeId: string;
  region: string;
  reason: string;
  at: number;
}

export interface TenantItems {
  row: TenantRow | undefined;
  status: TenantStatus | undefined;
  announced: Announced | undefined;
  refusals: Refusal[];
}

/** The last settled status of each tenant. Tenants without one are absent. */
export async function readStatuses(tenantIds: string[]): Promise<Map<string, TenantStatus>> {
  const items = await batchGet<{ tenantId: string; observed?: TenantStatus }>(TableName, tenantIds.map(keys.status));
  return new Map(items.flatMap(({ tenantId, observed }) => (observed === undefined ? [] : [[tenantId, observed]])));
}

/** Everything that the ledger has on one tenant. */
export async function readTenant(tenantId: string): Promise<TenantItems> {
  const items = await queryAll<Record<string, unknown> & { sk: string }>(keys.tenantPartition(tenantId));
  const status = items.find(({ sk }) => sk === "STATUS");
  return {
    row: items.find(({ sk }) => sk === "ROW")?.row as TenantRow | undefined,
    status: status?.observed as TenantStatus | undefined,
    announced: items.find(({ sk }) => sk === "ANNOUNCED")?.announced as Announced | undefined,
    refusals: items.filter(({ sk }) => sk.startsWith("REFUSAL#")) as unknown as Refusal[],
  };
}

/** The last event that was sent about each tenant. Tenants without one are absent. */
export async function readAnnounced(tenantIds: string[]): Promise<Map<string, Announced>> {
  const items = await batchGet<{ tenantId: string; announced: Announced }>(TableName, tenantIds.map(keys.announced));
  return new Map(items.map(({ tenantId, announced }) => [tenantId, announced]));
}

/** In an item of its own, so that a batch's notes are written 25 per call. */
export async function saveAnnounced(sent: { tenantId: string; announced: Announced }[]): Promise<void> {
  await batchPut(
    TableName,
    sent.map(({ tenantId, announced }) => ({ ...keys.announced(tenantId), tenantId, announced })),
  );
}

export async function putRefusal(tenantId: string, refusal: Refusal): Promise<void> {
  await documents.send(
    new PutCommand({ TableName, Item: { ...keys.refusal(tenantId, refusal.edgeId), tenantId, ...refusal } }),
  );
}
export async function removeRefusal(tenantId: string, edgeId: string): Promise<void> {
  await documents.send(new DeleteCommand({ TableName, Key: keys.refusal(tenantId, edgeId) }));
}
