/** Edges, one row each. */
import { DeleteCommand, GetCommand, PutCommand, UpdateCommand } from "@aws-sdk/lib-dynamodb";
import type { EdgeRow } from "../../core/edges/edge.ts";
import { RowChangedError } from "../../core/errors.ts";
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

/**
 * Writes the row over its version `expectedVersion`, 0 for a new one, and returns its new version.
 * @throws RowChangedError when another report came in between
 */
export async function writeEdge(edge: EdgeRow, expectedVersion: number): Promise<number> {
  const version = expectedVersion + 1;
  try {
    await documents.send(
      new PutCommand({
        TableName,
        Item: { ...keys.edge(edge.cell, edge.edgeId), version, edge },
        ...(expectedVersion === 0
          ? { ConditionExpression: "attribute_not_exists(pk)" }
          : { ConditionExpression: "version = :version", ExpressionAttributeValues: { ":version": expectedVersion } }),
      }),
    );
    return version;
  } catch (error) {
    if (isConditionFailed(error))
      throw new RowChangedError(`edge ${edge.edgeId} reported twice at once`, { cause: error });
    throw error;
  }
}

/** The edge takes no users any more. It still counts until it is deleted. */
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
