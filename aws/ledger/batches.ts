/** A batch: the tenants of one delivery of the stream, and how far their rollout is. */
import { GetCommand, TransactWriteCommand, UpdateCommand } from "@aws-sdk/lib-dynamodb";
import type { Reserved } from "../../core/admission/admit.ts";
import { RowChangedError } from "../../core/errors.ts";
import type { ChangedTenant } from "../../core/publishing/plan.ts";
import { batchGet, documents, failedConditions, isConditionFailed } from "../documents.ts";
import { environment } from "../settings.ts";
import { keys } from "./keys.ts";

const TableName = environment.LANDFALL_LEDGER_TABLE;
export const keepSeconds = 7 * 24 * 3600;

/** What admission made of a tenant: the state of its row, and the generation that this batch waits for. */
export interface Outcome {
  tenantId: string;
  state: string;
  generation: number;
  /** The generation that is served, where it is not this one: a refused change leaves what was before. */
  admitted?: number;
  cell: string;
  /** Every slot of it: where it has a route, or had one. */
  slots: number[];
}

export interface Batch {
  tenantIds: string[];
  startedAt: number;
  /** The stream's number of each tenant's last record, in the order of the ids; empty when the audit asked. */
  sequences: string[];
  outcomes?: Outcome[];
  /** Slots by protocol, of tenants that were not admitted yet. */
  reserved?: Record<string, { cell: string; slots: Record<string, Reserved> }>;
  admittedAt?: number;
}

/** Once: a batch that is there keeps its time. `sequences` are the stream's numbers of the tenants' last records. */
export async function createBatch(
  batchId: string,
  tenantIds: string[],
  now: number,
  sequences: string[] = tenantIds.map(() => ""),
): Promise<void> {
  const expires = Math.floor(now / 1000) + keepSeconds;
  await documents.send(
    new UpdateCommand({
      TableName,
      Key: keys.batch(batchId),
      UpdateExpression:
        "SET tenantIds = :ids, sequences = :sequences, startedAt = if_not_exists(startedAt, :now), expires = :expires",
      ExpressionAttributeValues: { ":ids": tenantIds, ":sequences": sequences, ":now": now, ":expires": expires },
    }),
  );
}

/** @throws Error when there is no such batch */
export async function readBatch(batchId: string): Promise<Batch> {
  const batch = await findBatch(batchId);
  if (batch === undefined) throw new Error(`batch ${batchId} is not in the ledger`);
  return batch;
}

export async function findBatch(batchId: string): Promise<Batch | undefined> {
  const { Item } = await documents.send(new GetCommand({ TableName, Key: keys.batch(batchId), ConsistentRead: true }));
  return Item as (Batch & Record<string, unknown>) | undefined;
}

/** What admission made of the batch so far, and the slots reserved for those that it has to look at again. */
export async function saveOutcomes(
  { batchId, attempt }: Attempt,
  outcomes: Outcome[],
  reserved: NonNullable<Batch["reserved"]>,
  now: number,
): Promise<void> {
  try {
    await documents.send(
      new UpdateCommand({
        TableName,
        Key: keys.batch(batchId),
        UpdateExpression: "SET outcomes = :outcomes, reserved = :reserved, admittedAt = :now",
        ConditionExpression: "attempt = :attempt",
        ExpressionAttributeValues: { ":outcomes": outcomes, ":reserved": reserved, ":now": now, ":attempt": attempt },
      }),
    );
  } catch (error) {
    throw isConditionFailed(error) ? superseded(batchId, error) : error;
  }
}

/** One of the times that a batch is admitted: a later one makes the earlier ones' word worth nothing. */
export interface Attempt {
  batchId: string;
  attempt: number;
}

const superseded = (batchId: string, cause: unknown) =>
  new RowChangedError(`batch ${batchId} is being admitted by a later attempt`, { cause });

/**
 * Begins an attempt to admit the batch.
 * @throws Error when there is no such batch
 */
export async function beginAttempt(batchId: string): Promise<Batch & Attempt> {
  const { Attributes } = await documents.send(
    new UpdateCommand({
      TableName,
      Key: keys.batch(batchId),
      UpdateExpression: "ADD attempt :one",
      ConditionExpression: "attribute_exists(pk)",
      ExpressionAttributeValues: { ":one": 1 },
      ReturnValues: "ALL_NEW",
    }),
  );
  return { ...(Attributes as Batch & { attempt: number }), batchId };
}

export interface DirtyBatch {
  batchId: string;
  tenants: ChangedTenant[];
  /** Tells one marking from the next, for whoever takes it out. */
  mark: number;
}

/**
 * Leaves the batch's tenants in the cell's dirty set, for whoever holds the publisher's lease. What an earlier marking was
 * covered by says nothing of this one.
 * @throws RowChangedError when a later attempt has begun
 */
export async function markDirty(cell: string, { batchId, attempt }: Attempt, tenants: ChangedTenant[]): Promise<void> {
  const dirty: DirtyBatch = { batchId, tenants, mark: attempt };
  const isLatest = {
    TableName,
    Key: keys.batch(batchId),
    ConditionExpression: "attempt = :attempt",
    ExpressionAttributeValues: { ":attempt": attempt },
  };
  try {
    await documents.send(
      new TransactWriteCommand({
        TransactItems: [
          { ConditionCheck: isLatest },
          { Put: { TableName, Item: { ...keys.dirty(cell, batchId), ...dirty } } },
          { Delete: { TableName, Key: keys.coverage(batchId, cell) } },
        ],
      }),
    );
  } catch (error) {
    throw failedConditions(error) === undefined ? error : superseded(batchId, error);
  }
}

export interface Coverage {
  generation: number;
  committedAt: number;
  /** Seconds since 1970, for the table's TTL. */
  expires: number;
  /** When each edge said that it serves the generation or a later one: for a trace. */
  acks?: { edgeId: string; region: string; at: number }[];
}

/** Which generation of the cell covers each batch; batches not committed yet are absent. */
export async function readCoverage(cell: string, batchIds: string[]): Promise<Map<string, Coverage>> {
  const items = await batchGet<Coverage & { pk: string }>(
    TableName,
    batchIds.map((batchId) => keys.coverage(batchId, cell)),
  );
  return new Map(items.map((item) => [item.pk.slice("BATCH#".length), item]));
}

export async function saveAcks(cell: string, batchId: string, acks: NonNullable<Coverage["acks"]>): Promise<void> {
  await documents.send(
    new UpdateCommand({
      TableName,
      Key: keys.coverage(batchId, cell),
      UpdateExpression: "SET acks = :acks",
      ConditionExpression: "attribute_exists(pk)",
      ExpressionAttributeValues: { ":acks": acks },
    }),
  );
}
