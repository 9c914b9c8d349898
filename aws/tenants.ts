/** The Tenants table. It belongs to those who write tenant records: Landfall only reads it. */
import { GetCommand } from "@aws-sdk/lib-dynamodb";
import { documents } from "./documents.ts";
import { environment } from "./settings.ts";

/** The record as it stands now, unparsed, or undefined when there is none. */
export async function readRecord(tenantId: string): Promise<unknown> {
  const { Item } = await documents.send(
    new GetCommand({ TableName: environment.LANDFALL_TENANTS_TABLE, Key: { tenantId }, ConsistentRead: true }),
  );
  return Item;
}
