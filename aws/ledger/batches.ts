/** A batch: the tenants of one delivery of the stream, and the progress of their rollout. */
import { GetCommand, UpdateCommand } from "@aws-sdk/lib-dynamodb";
import type { Progress } from "../../core/admission/attempt.ts";
import { RowChangedError } from "../../core/errors.ts";
import type { Batch } from "../../core/rollout/batch.ts";
import { rolloutLimits } from "../../schemas/limits.ts";
import { batchGet, documents, isConditionFailed } from "../documents.ts";
import { environment } from "../settings.ts";
import { keys } from "./keys.ts";

/** A table of their own: batches come with every write, and the ledger's size follows the tenants. */
const TableName = environment.LANDFALL_ROLLOUTS_TABLE;

/** Creates a batch. An existing one keeps its start time. `sequences` are the stream's numbers of the last records. */
export async function createBatch(
  batchId: string,
  tenantIds: string[],
  now: number,
  sequences: string[] = tenantIds.map(() => ""),
): Promise<void> {
  const expires = Math.floor(now / 1000) + rolloutLimits.batchKeepSeconds;
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

/**
 * Saves how far the batch is.
 * @throws RowChangedError when a later attempt has begun
 */
export async function saveProgress(
  { batchId, attempt }: AttemptId,
  { outcomes, reserved }: Progress,
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

/** One attempt to admit a batch. Once a later attempt has begun, an earlier one may write nothing more about the batch. */
export interface AttemptId {
  batchId: string;
  attempt: number;
}

export const superseded = (batchId: string, cause: unknown) =>
  new RowChangedError(`batch ${batchId} is being admitted by a later attempt`, { cause });

/**
 * Begins an attempt to admit the batch.
 * @throws Error when there is no such batch
 */
export async function beginAttempt(batchId: string): Promise<Batch & AttemptId> {
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

export interface Coverage {
  generation: number;
  committedAt: number;
  /** Seconds since 1970, for the table's TTL. */
  expires: number;
  /** When each edge reported that it serves the generation or a later one, for a trace. */
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
