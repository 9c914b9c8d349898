import { paginateQuery } from "@aws-sdk/lib-dynamodb";
import { documents } from "../documents.ts";
import { environment } from "../settings.ts";

/** All items of a partition, in key order, read consistently. */
export async function queryAll<Item>(pk: string, limit = Number.POSITIVE_INFINITY): Promise<Item[]> {
  const items: Item[] = [];
  const pages = paginateQuery(
    { client: documents },
    {
      TableName: environment.LANDFALL_LEDGER_TABLE,
      KeyConditionExpression: "pk = :pk",
      ExpressionAttributeValues: { ":pk": pk },
      ConsistentRead: true,
      ...(Number.isFinite(limit) ? { Limit: limit } : {}),
    },
  );
  for await (const page of pages) {
    items.push(...((page.Items ?? []) as Item[]));
    if (items.length >= limit) break;
  }
  return items.slice(0, limit);
}
