/** A batch: the tenants of one delivery of the stream, and how far their rollout is. */
import { BatchGetCommand, GetCommand, PutCommand, UpdateCommand } from "@aws-sdk/lib-dynamodb";
import { documents } from "../documents.ts";
import { environment } from "../settings.ts";
import { keys } from "./keys.ts";

const TableName = environment.LANDFALL_LEDGER_TABLE;
const keepSeconds = 7 * 24 * 3600;

/** What admission made of a tenant: the state of its row, and the generation that this batch waits for. */
export interface Outcome {
  tenantId: string;
  state: string;
  generation: number;
  /** The generation that is served, where it is not this one: a refused change leaves what was before. */
  admitted?: number;
  cell: string;
}

export interface Batch {
  tenantIds: string[];
  startedAt: number;
  outcomes?: Outcome[];
  admittedAt?: number;
}

export async function createBatch(batchId: string, tenantIds: string[], now: number): Promise<void> {
  const expires = Math.floor(now / 1000) + keepSeconds;
  await documents.send(
    new UpdateCommand({
      TableName,
      Key: keys.batch(batchId),
      UpdateExpression: "SET tenantIds = :ids, startedAt = if_not_exists(startedAt, :now), expires = :expires",
      ExpressionAttributeValues: { ":ids": tenantIds, ":now": now, ":expires": expires },
    }),
  );
}

export async function readBatch(batchId: string): Promise<Batch> {
  const { Item } = await documents.send(new GetCommand({ TableName, Key: keys.batch(batchId), ConsistentRead: true }));
  if (Item === undefined) throw new Error(`batch ${batchId} is not in the ledger`);
  return Item as Batch & Record<string, unknown>;
}

export async function saveOutcomes(batchId: string, outcomes: Outcome[], now: number): Promise<void> {
  await documents.send(
    new UpdateCommand({
      TableName,
      Key: keys.batch(batchId),
      UpdateExpression: "SET outcomes = :outcomes, admittedAt = :now",
      ExpressionAttributeValues: { ":outcomes": outcomes, ":now": now },
    }),
  );
}

/** Leaves the batch's tenants in the cell's dirty set, for whoever holds the publisher's lease. */
export async function markDirty(cell: string, batchId: string, tenantIds: string[]): Promise<void> {
  await documents.send(new PutCommand({ TableName, Item: { ...keys.dirty(cell, batchId), batchId, tenantIds } }));
}

export interface Coverage {
  generation: number;
  committedAt: number;
}

/** Which generation of the cell covers each batch; batches not committed yet are absent. */
export async function readCoverage(cell: string, batchIds: string[]): Promise<Map<string, Coverage>> {
  const covered = new Map<string, Coverage>();
  for (let from = 0; from < batchIds.length; from += 100) {
    const Keys = batchIds.slice(from, from + 100).map((batchId) => keys.coverage(batchId, cell));
    const { Responses, UnprocessedKeys } = await documents.send(
      new BatchGetCommand({ RequestItems: { [TableName]: { Keys, ConsistentRead: true } } }),
    );
    if (Object.keys(UnprocessedKeys ?? {}).length > 0)
      throw new Error("DynamoDB left keys of a batch read unprocessed");
    for (const item of Responses?.[TableName] ?? [])
      covered.set(String(item.pk).slice("BATCH#".length), item as unknown as Coverage);
  }
  return covered;
}
