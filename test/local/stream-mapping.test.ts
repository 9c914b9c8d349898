import { CreateTableCommand, DynamoDBClient, PutItemCommand } from "@aws-sdk/client-dynamodb";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { DynamoDb } from "../../local/services/dynamodb/dynamodb.ts";
import { type MappingConfig, StreamMapping, type StreamRecord } from "../../local/services/lambda/stream-mapping.ts";
import { eventually } from "./harness.ts";

let database: DynamoDb;
let client: DynamoDBClient;
let table = 0;
let mapping: StreamMapping | undefined;

beforeAll(async () => {
  database = await DynamoDb.start();
  client = new DynamoDBClient({
    endpoint: database.endpoint,
    region: "us-west-2",
    credentials: { accessKeyId: "a", secretAccessKey: "b" },
  });
});
afterEach(() => mapping?.stop());
afterAll(() => {
  client.destroy();
  database.stop();
});

type Invoke = (ids: string[]) => object | Error | null;

/** A table with a mapping. The function gets each batch's ids and answers with the result of `invoke`. */
async function mapped(invoke: Invoke, changes: Partial<MappingConfig> = {}) {
  const TableName = `table-${table++}`;
  await client.send(
    new CreateTableCommand({
      TableName,
      BillingMode: "PAY_PER_REQUEST",
      AttributeDefinitions: [{ AttributeName: "id", AttributeType: "S" }],
      KeySchema: [{ AttributeName: "id", KeyType: "HASH" }],
      StreamSpecification: { StreamEnabled: true, StreamViewType: "NEW_AND_OLD_IMAGES" },
    }),
  );
  const failed: { key: string; body: { DDBStreamBatchInfo: { batchSize: number }; payload: string } }[] = [];
  const batches: string[][] = [];
  mapping = new StreamMapping(
    {
      uuid: "uuid",
      table: TableName,
      streamArn: "arn",
      functionArn: "function",
      region: "us-west-2",
      batchSize: 100,
      windowMs: 0,
      retries: 2,
      maxAgeMs: 60_000,
      bisect: true,
      reportsFailures: true,
      filters: [],
      delayMs: 0,
      ...changes,
    },
    {
      endpoint: database.endpoint,
      invoke: async (event) => {
        const { Records } = JSON.parse(event) as {
          Records: (StreamRecord & { dynamodb: { Keys: { id: { S: string } } } })[];
        };
        const ids = Records.map((record) => record.dynamodb.Keys.id.S);
        batches.push(ids);
        const answer = invoke(ids);
        if (answer instanceof Error)
          return { requestId: "r", error: { errorType: answer.name, errorMessage: answer.message, trace: [] } };
        const failures = (answer as { failAt?: string } | null)?.failAt;
        const batchItemFailures =
          failures === undefined ? [] : [{ itemIdentifier: Records[ids.indexOf(failures)]!.dynamodb.SequenceNumber }];
        return { requestId: "r", payload: JSON.stringify({ batchItemFailures }) };
      },
      fail: (key, body) => failed.push({ key, body: JSON.parse(body) as never }),
      onFault: (error) => {
        throw error;
      },
    },
  );
  const put = async (...ids: string[]) => {
    for (const id of ids) await client.send(new PutItemCommand({ TableName, Item: { id: { S: id } } }));
  };
  return { put, batches, failed, begin: () => mapping!.start() };
}

describe("StreamMapping", () => {
  it("delivers records in order, also those written before it started", async () => {
    const { put, batches, begin } = await mapped(() => null);
    await put("a", "b");
    begin();
    await eventually(
      () => batches.flat(),
      (ids) => ids.length === 2,
    );
    await put("c");
    expect(
      await eventually(
        () => batches.flat(),
        (ids) => ids.length === 3,
      ),
    ).toEqual(["a", "b", "c"]);
  });

  it("restarts at the first record that the function reports as failed", async () => {
    let once = true;
    const { put, batches, begin } = await mapped((ids) => {
      if (!once || !ids.includes("c")) return null;
      once = false;
      return { failAt: "c" };
    });
    await put("a", "b", "c", "d");
    begin();
    await eventually(
      () => batches,
      (list) => list.flat().filter((id) => id === "d").length === 2,
    );
    expect(batches).toEqual([
      ["a", "b", "c", "d"],
      ["c", "d"],
    ]);
  });

  it("halves a failing batch until the bad record is alone, reports that record as failed, and goes on", async () => {
    const { put, batches, failed, begin } = await mapped((ids) => (ids.includes("bad") ? new Error("poison") : null), {
      retries: 3,
    });
    await put("a", "b", "bad", "d");
    begin();
    await eventually(
      () => failed.length,
      (count) => count === 1,
    );
    await put("e");
    await eventually(
      () => batches.at(-1),
      (ids) => ids?.includes("e") === true,
    );
    expect(failed[0]?.body.DDBStreamBatchInfo.batchSize).toBe(1);
    expect(failed[0]?.body.payload).toContain('"bad"');
    expect(failed[0]?.key).toMatch(/^aws\/lambda\/uuid\/.+\/\d{4}\/\d\d\/\d\d\//);
    const good = batches.filter((ids) => !ids.includes("bad")).flat();
    expect(good.toSorted()).toEqual(["a", "b", "d", "e"]);
  });

  it("spends no retries on halving: a bad record ends alone and its neighbours are delivered, even without retries (developer guide, Error handling for DynamoDB event sources)", async () => {
    const poison = ["b", "g"];
    const { put, batches, failed, begin } = await mapped(
      (ids) => (ids.some((id) => poison.includes(id)) ? new Error("poison") : null),
      { retries: 0 },
    );
    await put(..."abcdefgh");
    begin();
    await eventually(
      () => batches.flat(),
      (ids) => ids.includes("h") && batches.at(-1)?.includes("h") === true && failed.length === 2,
    );
    expect(failed.map(({ body }) => body.DDBStreamBatchInfo.batchSize)).toEqual([1, 1]);
    expect(failed.map(({ body }) => poison.find((id) => body.payload.includes(`{"S":"${id}"}`)))).toEqual(poison);
    const delivered = batches.filter((ids) => !ids.some((id) => poison.includes(id))).flat();
    expect(delivered.toSorted()).toEqual([..."acdefh"]);
  });

  it("delivers only records that match its filters", async () => {
    const { put, batches, begin } = await mapped(() => null, {
      filters: [{ dynamodb: { Keys: { id: { S: [{ prefix: "x" }] } } } }],
    });
    await put("a", "x1", "b", "x2");
    begin();
    expect(
      await eventually(
        () => batches.flat(),
        (ids) => ids.length === 2,
      ),
    ).toEqual(["x1", "x2"]);
  });
});
