import {
  BatchGetItemCommand,
  BatchWriteItemCommand,
  CreateTableCommand,
  DynamoDBClient,
  GetItemCommand,
  PutItemCommand,
  QueryCommand,
  ScanCommand,
  type TransactionCanceledException,
  TransactWriteItemsCommand,
  UpdateItemCommand,
} from "@aws-sdk/client-dynamodb";
import {
  DescribeStreamCommand,
  DynamoDBStreamsClient,
  GetRecordsCommand,
  GetShardIteratorCommand,
  ListStreamsCommand,
} from "@aws-sdk/client-dynamodb-streams";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { isTransient } from "../../aws/transient.ts";
import { Faults } from "../../local/faults.ts";
import { Iam } from "../../local/iam/iam.ts";
import { DynamoDb } from "../../local/services/dynamodb/dynamodb.ts";
import { account, eventually, startGateway } from "./harness.ts";

const TableName = "things";
const faults = new Faults({}, 7);
let database: DynamoDb;
let gateway: Awaited<ReturnType<typeof startGateway>>;
let client: DynamoDBClient;

const start = async (with_: Faults) => {
  const iam = new Iam(account);
  const started = await DynamoDb.start({ faults: with_ });
  const at = await startGateway([started.service(iam, "us-west-2")], iam);
  const to = new DynamoDBClient(at.client());
  await to.send(
    new CreateTableCommand({
      TableName,
      BillingMode: "PAY_PER_REQUEST",
      AttributeDefinitions: ["pk", "sk"].map((AttributeName) => ({ AttributeName, AttributeType: "S" })),
      KeySchema: [
        { AttributeName: "pk", KeyType: "HASH" },
        { AttributeName: "sk", KeyType: "RANGE" },
      ],
      StreamSpecification: { StreamEnabled: true, StreamViewType: "NEW_AND_OLD_IMAGES" },
    }),
  );
  return { started, at, to };
};

beforeAll(async () => {
  ({ started: database, at: gateway, to: client } = await start(faults));
});
afterAll(async () => {
  client.destroy();
  await gateway.close();
  database.stop();
});

const key = (pk: string, sk = "1") => ({ pk: { S: pk }, sk: { S: sk } });
const put = (pk: string, n = 1, sk = "1") =>
  client.send(new PutItemCommand({ TableName, Item: { ...key(pk, sk), n: { N: String(n) } } }));
const bump = (pk: string) => ({
  Update: {
    TableName,
    Key: key(pk),
    UpdateExpression: "ADD n :one",
    ExpressionAttributeValues: { ":one": { N: "1" } },
  },
});
/** What a call fails with. */
const failure = async (call: Promise<unknown>): Promise<Error> => {
  try {
    await call;
  } catch (error) {
    return error as Error;
  }
  throw new Error("it did not fail");
};
const withRates = async <T>(rates: Partial<Faults["rates"]>, run: () => Promise<T>): Promise<T> => {
  const before = { ...faults.rates };
  Object.assign(faults.rates, rates);
  try {
    return await run();
  } finally {
    Object.assign(faults.rates, before);
  }
};

describe("DynamoDB", () => {
  it("throttles by two names that the SDK retries, and sets no $retryable (developer guide, Error handling)", async () => {
    const seen = new Map<string, Error>();
    await withRates({ dynamoThrottled: 1 }, async () => {
      for (let i = 0; i < 30 && seen.size < 2; i++) {
        const error = await failure(put("a"));
        seen.set(error.name, error);
      }
    });
    expect([...seen.keys()].sort()).toEqual(["ProvisionedThroughputExceededException", "ThrottlingException"]);
    for (const error of seen.values()) {
      expect((error as Error & { $retryable?: object }).$retryable).toBeUndefined();
      expect(isTransient(error)).toBe(true);
    }
  });

  it("cancels a transaction for a conflict with a reason for each item, in order (API reference, TransactionCanceledException)", async () => {
    await put("a");
    const error = (await withRates({ dynamoConflict: 1 }, () =>
      failure(client.send(new TransactWriteItemsCommand({ TransactItems: [bump("a"), bump("b")] }))),
    )) as TransactionCanceledException;
    expect(error.name).toBe("TransactionCanceledException");
    expect(error.message).toMatch(/^Transaction cancelled, please refer cancellation reasons for specific reasons \[/);
    const codes = error.CancellationReasons?.map(({ Code }) => Code).sort();
    expect(codes).toEqual(["None", "TransactionConflict"]);
    expect(isTransient(error)).toBe(true);
  });

  it("cancels a transaction for a throttled item (API reference, TransactionCanceledException)", async () => {
    const names = new Set<string>();
    await withRates({ dynamoThrottled: 1 }, async () => {
      for (let i = 0; i < 20; i++) {
        const error = (await failure(
          client.send(new TransactWriteItemsCommand({ TransactItems: [bump("a"), bump("b")] })),
        )) as TransactionCanceledException;
        for (const { Code } of error.CancellationReasons ?? []) names.add(Code!);
        expect(isTransient(error)).toBe(true);
      }
    });
    expect([...names].sort()).toEqual(["None", "ThrottlingError"]);
  });

  it("cancels a transaction for a condition or a value that can't be, and neither passes by itself", async () => {
    await put("text");
    const condition = { Put: { TableName, Item: key("text"), ConditionExpression: "attribute_not_exists(pk)" } };
    const conditional = (await failure(
      client.send(new TransactWriteItemsCommand({ TransactItems: [condition, bump("b")] })),
    )) as TransactionCanceledException;
    expect(conditional.CancellationReasons?.map(({ Code }) => Code)).toEqual(["ConditionalCheckFailed", "None"]);
    expect(isTransient(conditional)).toBe(false);
    await client.send(new PutItemCommand({ TableName, Item: { ...key("text"), n: { S: "text" } } }));
    const invalid = await failure(client.send(new TransactWriteItemsCommand({ TransactItems: [bump("text")] })));
    expect(["TransactionCanceledException", "ValidationException"]).toContain(invalid.name);
    expect(isTransient(invalid)).toBe(false);
  });

  it("refuses writes beside a transaction on the same item (developer guide, Transaction conflict handling)", async () => {
    await put("hot");
    const transaction = () => client.send(new TransactWriteItemsCommand({ TransactItems: [bump("hot")] }));
    const names = new Set<string>();
    for (let round = 0; round < 40 && names.size < 2; round++) {
      const calls = [transaction(), transaction(), put("hot"), put("hot")];
      for (const result of await Promise.allSettled(calls))
        if (result.status === "rejected") names.add((result.reason as Error).name);
    }
    expect([...names].sort()).toEqual(["TransactionCanceledException", "TransactionConflictException"]);
  });

  it("leaves some keys of a batch unprocessed, and never all (API reference, BatchGetItem, BatchWriteItem)", async () => {
    const ids = Array.from({ length: 20 }, (_, i) => `batch-${i}`);
    for (const id of ids) await put(id);
    await withRates({ dynamoUnprocessed: 1 }, async () => {
      const Keys = ids.map((id) => key(id));
      const read = await client.send(new BatchGetItemCommand({ RequestItems: { [TableName]: { Keys } } }));
      const left = read.UnprocessedKeys?.[TableName]?.Keys?.length ?? 0;
      const got = read.Responses?.[TableName]?.length ?? 0;
      expect([left > 0, got > 0, left + got]).toEqual([true, true, 20]);
      const requests = ids.map((id) => ({ DeleteRequest: { Key: key(id) } }));
      const written = await client.send(new BatchWriteItemCommand({ RequestItems: { [TableName]: requests } }));
      const kept = written.UnprocessedItems?.[TableName]?.length ?? 0;
      expect([kept > 0, kept < 20]).toEqual([true, true]);
    });
    const { Count } = await client.send(new ScanCommand({ TableName, ConsistentRead: true, Select: "COUNT" }));
    expect(Count).toBeGreaterThan(0);
  });

  it("writes no stream record for a write that changes nothing (developer guide, DynamoDB Streams)", async () => {
    const streams = new DynamoDBStreamsClient(gateway.client());
    const { Streams = [] } = await streams.send(new ListStreamsCommand({ TableName }));
    const { StreamArn } = Streams[0]!;
    const { StreamDescription } = await streams.send(new DescribeStreamCommand({ StreamArn }));
    const { ShardId } = StreamDescription!.Shards![0]!;
    const read = async () => {
      const { ShardIterator } = await streams.send(
        new GetShardIteratorCommand({ StreamArn, ShardId, ShardIteratorType: "TRIM_HORIZON" }),
      );
      const { Records = [] } = await streams.send(new GetRecordsCommand({ ShardIterator }));
      return Records.filter(({ dynamodb }) => dynamodb?.Keys?.pk?.S === "same").map(({ eventName }) => eventName);
    };
    await put("same", 1);
    await put("same", 1);
    const set = { UpdateExpression: "SET n = :n", ExpressionAttributeValues: { ":n": { N: "1" } } };
    await client.send(new UpdateItemCommand({ TableName, Key: key("same"), ...set }));
    await put("same", 2);
    expect(await read()).toEqual(["INSERT", "MODIFY"]);
  });

  it("counts what each partition consumes, and tells nobody who did not ask (developer guide, Capacity unit consumption)", async () => {
    const text = "x".repeat(2500);
    const answer = await client.send(
      new PutItemCommand({ TableName, Item: { ...key("busy"), text: { S: text } }, ReturnConsumedCapacity: "TOTAL" }),
    );
    expect(answer.ConsumedCapacity?.CapacityUnits).toBe(3); // 1 a KB begun
    for (let i = 0; i < 9; i++) {
      const quiet = await client.send(new PutItemCommand({ TableName, Item: { ...key("busy"), text: { S: text } } }));
      expect(quiet.ConsumedCapacity).toBeUndefined();
    }
    await client.send(new GetItemCommand({ TableName, Key: key("busy"), ConsistentRead: true }));
    const busiest = database.capacity.busiest(50).find(({ partition }) => partition === "busy");
    expect(busiest?.peakWriteUnits).toBe(30);
    expect(busiest?.peakReadUnits).toBe(1);
  });
});

describe("DynamoDB with stale reads", () => {
  it("shows an eventually consistent read the past, and a consistent one the present (developer guide, Read consistency)", async () => {
    const { started, at, to } = await start(new Faults({ staleMs: 3000 }, 3));
    try {
      const write = (n: number) =>
        to.send(new PutItemCommand({ TableName, Item: { ...key("clock"), n: { N: String(n) } } }));
      const reads = {
        get: async (ConsistentRead: boolean) =>
          (await to.send(new GetItemCommand({ TableName, Key: key("clock"), ConsistentRead }))).Item?.n?.N,
        query: async (ConsistentRead: boolean) => {
          const pk = { KeyConditionExpression: "pk = :pk", ExpressionAttributeValues: { ":pk": { S: "clock" } } };
          return (await to.send(new QueryCommand({ TableName, ConsistentRead, ...pk }))).Items?.[0]?.n?.N;
        },
        scan: async (ConsistentRead: boolean) =>
          (await to.send(new ScanCommand({ TableName, ConsistentRead }))).Items?.[0]?.n?.N,
        batch: async (ConsistentRead: boolean) => {
          const RequestItems = { [TableName]: { Keys: [key("clock")], ConsistentRead } };
          return (await to.send(new BatchGetItemCommand({ RequestItems }))).Responses?.[TableName]?.[0]?.n?.N;
        },
      };
      let stale = 0;
      for (let n = 1; n <= 8; n++) {
        await write(n);
        for (const read of Object.values(reads)) {
          expect(await read(true)).toBe(String(n));
          if ((await read(false)) !== String(n)) stale++;
        }
      }
      expect(stale).toBeGreaterThan(0);
      await eventually(
        () => reads.get(false),
        (n) => n === "8",
      );
    } finally {
      to.destroy();
      await at.close();
      started.stop();
    }
  });
});
