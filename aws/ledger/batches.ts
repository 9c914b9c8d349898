/** A batch: the tenants of one delivery of the stream, and how far their rollout is. */
import { GetCommand, PutCommand, UpdateCommand } from "@aws-sdk/lib-dynamodb";
import type { Reserved } from "../../core/admission/admit.ts";
import { batchGet, documents } from "../documents.ts";
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
  /** The stream's number of each tenant's last record in the batch. */
  sequences?: Record<string, string>;
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
  sequences: Record<string, string> = {},
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
  batchId: string,
  outcomes: Outcome[],
  reserved: NonNullable<Batch["reserved"]>,
  now: number,
): Promise<void> {
  await documents.send(
    new UpdateCommand({
      TableName,
      Key: keys.batch(batchId),
      UpdateExpression: "SET outcomes = :outcomes, reserved = :reserved, admittedAt = :now",
      ExpressionAttributeValues: { ":outcomes": outcomes, ":reserved": reserved, ":now": now },
    }),
  );
}

export interface DirtyBatch {
  batchId: string;
  tenantIds: string[];
  /** Tells one marking from the next, for whoever takes it out. */
  mark: string;
}

/** Leaves the batch's tenants in the cell's dirty set, for whoever holds the publisher's lease. */
export async function markDirty(cell: string, dirty: DirtyBatch): Promise<void> {
  await documents.send(new PutCommand({ TableName, Item: { ...keys.dirty(cell, dirty.batchId), ...dirty } }));
}

export interface Coverage {
  generation: number;
  committedAt: number;
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
