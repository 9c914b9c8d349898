/** Measures whether a put into the embedded DynamoDB slows down with the number of tenants in the table. */
import { CreateTableCommand, type CreateTableCommandInput, DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { BatchWriteCommand, DynamoDBDocumentClient, PutCommand } from "@aws-sdk/lib-dynamodb";
import { administrator } from "../local/iam/iam.ts";
import { DynamoDb } from "../local/services/dynamodb/dynamodb.ts";
import { Figures, percentile } from "./figures.ts";

const items = 100_000;
const itemsPerCall = 25;
const callsAtOnce = 4;
const puts = 1000;

const record = (index: number, host: number) => ({
  tenantId: `tenant-${index}`,
  hostnames: [`tenant-${index}.tenants.example.com`],
  homeRegion: "us-west-2",
  protocols: { tls: 3080 },
  backends: { "us-west-2": [`10.0.0.${host}`] },
});

/** Puts alternate between an almost empty table and a full one of the same engine. */
export async function engine(): Promise<void> {
  const figures = new Figures("engine", "none");
  const database = await DynamoDb.start();
  const options = { endpoint: database.endpoint, region: "us-west-2", credentials: administrator };
  const client = DynamoDBDocumentClient.from(new DynamoDBClient(options));
  try {
    for (const TableName of ["few", "many"]) await client.send(new CreateTableCommand({ TableName, ...likeTenants }));
    const began = performance.now();
    await fill(client);
    figures.add(`${items} items written`, (performance.now() - began) / 1000, "s", items);
    const times: Record<"few" | "many", number[]> = { few: [], many: [] };
    for (let put = 0; put < puts; put++)
      for (const TableName of ["few", "many"] as const) {
        const Item = record((put * 7919) % (TableName === "few" ? 100 : items), 2 + (put % 200));
        const start = performance.now();
        await client.send(new PutCommand({ TableName, Item }));
        times[TableName].push(performance.now() - start);
      }
    figures.spread("put among 100 items", times.few, "ms");
    figures.spread(`put among ${items} items`, times.many, "ms");
    figures.add(
      `p50 among ${items} ÷ p50 among 100`,
      percentile(times.many, 0.5) / percentile(times.few, 0.5),
      "x",
      puts,
      "≤ 1.5",
    );
    figures.write(
      "The embedded DynamoDB alone, with the SDK's client; puts alternate between two tables with streams.",
    );
  } finally {
    client.destroy();
    database.stop();
  }
}

const likeTenants: Omit<CreateTableCommandInput, "TableName"> = {
  BillingMode: "PAY_PER_REQUEST",
  AttributeDefinitions: [{ AttributeName: "tenantId", AttributeType: "S" }],
  KeySchema: [{ AttributeName: "tenantId", KeyType: "HASH" }],
  StreamSpecification: { StreamEnabled: true, StreamViewType: "NEW_AND_OLD_IMAGES" },
};

async function fill(client: DynamoDBDocumentClient): Promise<void> {
  let next = 0;
  const worker = async () => {
    while (next < items) {
      const from = next;
      next += itemsPerCall;
      const many = Array.from({ length: itemsPerCall }, (_, index) => ({
        PutRequest: { Item: record(from + index, 1) },
      }));
      await client.send(new BatchWriteCommand({ RequestItems: { many } }));
    }
  };
  await Promise.all(Array.from({ length: callsAtOnce }, worker));
}
