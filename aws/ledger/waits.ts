/** Task tokens of rollouts that wait until edges serve their batch. */
import { DeleteCommand, PutCommand } from "@aws-sdk/lib-dynamodb";
import { documents, isConditionFailed } from "../documents.ts";
import { environment } from "../settings.ts";
import { keys } from "./keys.ts";
import { queryAll } from "./query.ts";

const TableName = environment.LANDFALL_LEDGER_TABLE;

export interface Wait {
  batchId: string;
  token: string;
}

export const readWaits = (cell: string) => queryAll<Wait>(keys.waits(cell));

export async function storeWait(cell: string, wait: Wait): Promise<void> {
  await documents.send(new PutCommand({ TableName, Item: { ...keys.wait(cell, wait.batchId), ...wait } }));
}

/** Removes the wait with this token; a newer wait of the same batch stays. Without a token, it removes any wait. */
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
