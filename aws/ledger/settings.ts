/** The invalid versions of settings that were announced. */
import { GetCommand, PutCommand } from "@aws-sdk/lib-dynamodb";
import { documents } from "../documents.ts";
import { environment } from "../settings.ts";
import { keys } from "./keys.ts";

const TableName = environment.LANDFALL_LEDGER_TABLE;

export async function readAnnouncedVersion(name: string): Promise<number | undefined> {
  const { Item } = await documents.send(new GetCommand({ TableName, Key: keys.setting(name), ConsistentRead: true }));
  return Item?.version as number | undefined;
}

export async function saveAnnouncedVersion(name: string, version: number): Promise<void> {
  await documents.send(new PutCommand({ TableName, Item: { ...keys.setting(name), version } }));
}
