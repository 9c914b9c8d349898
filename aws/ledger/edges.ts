/** Edges, the waits for their acks, and health signals about them. */
import { DeleteCommand, GetCommand, PutCommand, UpdateCommand } from "@aws-sdk/lib-dynamodb";
import { RowChangedError } from "../../core/errors.ts";
import type { EdgeRow } from "../../core/rollout/acks.ts";
import type { EdgeHealth } from "../../schemas/events.ts";
import { documents, isConditionFailed } from "../documents.ts";
import { environment } from "../settings.ts";
import { keys } from "./keys.ts";
import { queryAll } from "./query.ts";

const TableName = environment.LANDFALL_LEDGER_TABLE;

export const readEdges = async (cell: string): Promise<EdgeRow[]> =>
  (await queryAll<{ edge: EdgeRow }>(keys.edges(cell))).map(({ edge }) => edge);

export async function readEdge(cell: string, edgeId: string): Promise<{ edge: EdgeRow; version: number } | undefined> {
  const Key = keys.edge(cell, edgeId);
  const { Item } = await documents.send(new GetCommand({ TableName, Key, ConsistentRead: true }));
  return Item as { edge: EdgeRow; version: number } | undefined;
}

/** @throws RowChangedError when another report came in between */
export async function writeEdge(edge: EdgeRow, expectedVersion: number): Promise<void> {
  try {
    await documents.send(
      new PutCommand({
        TableName,
        Item: { ...keys.edge(edge.cell, edge.edgeId), version: expectedVersion + 1, edge },
        ...(expectedVersion === 0
          ? { ConditionExpression: "attribute_not_exists(pk)" }
          : { ConditionExpression: "version = :version", ExpressionAttributeValues: { ":version": expectedVersion } }),
      }),
    );
  } catch (error) {
    if (isConditionFailed(error))
      throw new RowChangedError(`edge ${edge.edgeId} reported twice at once`, { cause: error });
    throw error;
  }
}

/** It takes no users any more, and is no witness; it counts until it is deleted. */
export async function markTerminated(cell: string, edgeId: string): Promise<void> {
  await documents.send(
    new UpdateCommand({
      TableName,
      Key: keys.edge(cell, edgeId),
      UpdateExpression: "SET edge.#terminated = :yes",
      ConditionExpression: "attribute_exists(pk)",
      ExpressionAttributeNames: { "#terminated": "terminated" },
      ExpressionAttributeValues: { ":yes": true },
    }),
  );
}

export async function deleteEdge(cell: string, edgeId: string): Promise<void> {
  await documents.send(new DeleteCommand({ TableName, Key: keys.edge(cell, edgeId) }));
}

export interface Wait {
  batchId: string;
  token: string;
}

export const readWaits = (cell: string) => queryAll<Wait>(keys.waits(cell));

export async function storeWait(cell: string, wait: Wait): Promise<void> {
  await documents.send(new PutCommand({ TableName, Item: { ...keys.wait(cell, wait.batchId), ...wait } }));
}

/** Removes the wait of this token; a newer one for the same batch stays. Without a token, whichever there is. */
export async function removeWait(cell: string, batchId: string, token?: string): Promise<void> {
  const condition =
    token === undefined
      ? {}
      : {
          ConditionExpression: "#token = :token",
          ExpressionAttributeNames: { "#token": "token" },
          ExpressionAttributeValues: { ":token": token },
        };
  try {
    await documents.send(new DeleteCommand({ TableName, Key: keys.wait(cell, batchId), ...condition }));
  } catch (error) {
    if (!isConditionFailed(error)) throw error;
  }
}

/** The last word on an edge or on a whole region. */
export interface Signal extends EdgeHealth {
  at: number;
}

export const readSignals = async (cell: string): Promise<Signal[]> =>
  (await queryAll<{ lastSignal: Signal }>(keys.signals(cell))).map(({ lastSignal }) => lastSignal);

/** Keeps the newest signal of each subject, whatever order they arrive in. */
export async function recordSignal(signal: Signal): Promise<void> {
  const subject = signal.edgeId === undefined ? `region#${signal.region}` : `edge#${signal.edgeId}`;
  try {
    await documents.send(
      new UpdateCommand({
        TableName,
        Key: keys.signal(signal.cell, subject),
        UpdateExpression: "SET lastSignal = :signal, signalAt = :at",
        ConditionExpression: "attribute_not_exists(pk) OR signalAt <= :at",
        ExpressionAttributeValues: { ":signal": signal, ":at": signal.at },
      }),
    );
  } catch (error) {
    if (!isConditionFailed(error)) throw error; // a newer one is there already
  }
}
