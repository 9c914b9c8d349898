import { CreateTableCommand, DynamoDBClient } from "@aws-sdk/client-dynamodb";
import {
  BatchGetCommand,
  BatchWriteCommand,
  DeleteCommand,
  DynamoDBDocumentClient,
  GetCommand,
  PutCommand,
  QueryCommand,
  ScanCommand,
  TransactWriteCommand,
  UpdateCommand,
} from "@aws-sdk/lib-dynamodb";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DynamoDb } from "../../local/services/dynamodb/dynamodb.ts";
import { Tables } from "./table.ts";

const TableName = "ledger";
const key = fc.record({ pk: fc.constantFrom("a", "b"), sk: fc.constantFrom("1", "2", "3") });
const values = { ":n": 2, ":t": "x", ":set": new Set(["x"]) };
const condition = fc.constantFrom(
  "attribute_not_exists(pk)",
  "attribute_exists(pk)",
  "n = :n",
  "n <> :n",
  "n < :n OR t = :t",
  "n >= :n AND (t = :t OR attribute_not_exists(m.deep))",
  "attribute_not_exists(n) OR n <= :n",
  "attribute_not_exists(words) OR contains(words, :t) OR size(words) < :n",
);
/** Only the values that an expression uses, because DynamoDB refuses others. */
const named = (...texts: (string | undefined)[]) => {
  const used = Object.entries(values).filter(([name]) => texts.some((text) => text?.includes(name)));
  return used.length > 0 ? { ExpressionAttributeValues: Object.fromEntries(used) } : {};
};
const item = fc.tuple(
  key,
  fc.record(
    {
      n: fc.integer({ min: 0, max: 4 }),
      t: fc.constantFrom("x", "y"),
      m: fc.constant({ deep: 1 }),
      words: fc.constantFrom(new Set(["x"]), new Set(["y", "z"])),
    },
    { requiredKeys: [] },
  ),
);
const updates = fc.constantFrom(
  "SET n = :n",
  "SET t = if_not_exists(t, :t), n = :n",
  "ADD n :n",
  "SET #t = :t",
  "REMOVE #t",
  "SET n = :n ADD words :set",
  "REMOVE #t DELETE words :set",
);

const put = fc.tuple(item, fc.option(condition)).map(([[at, rest], when]) => {
  const input = { TableName, Item: { ...at, ...rest } };
  return when === null ? input : { ...input, ConditionExpression: when, ...named(when) };
});
const remove = fc
  .tuple(key, condition)
  .map(([Key, when]) => ({ TableName, Key, ConditionExpression: when, ...named(when) }));
const update = fc
  .tuple(key, updates, fc.constantFrom("ALL_OLD", "ALL_NEW"))
  .map(([Key, UpdateExpression, ReturnValues]) => ({
    TableName,
    Key,
    UpdateExpression,
    ReturnValues,
    ...(UpdateExpression.includes("#t") ? { ExpressionAttributeNames: { "#t": "t" } } : {}),
    ...named(UpdateExpression),
  }));
type Step = { command: new (input: never) => unknown; input: object };
const step = fc.oneof<fc.Arbitrary<Step>[]>(
  put.map((input) => ({ command: PutCommand, input })),
  remove.map((input) => ({ command: DeleteCommand, input })),
  update.map((input) => ({ command: UpdateCommand, input })),
  key.map((Key) => ({ command: GetCommand, input: { TableName, Key, ConsistentRead: true } })),
  fc.uniqueArray(key, { minLength: 1, maxLength: 3, selector: ({ pk, sk }) => pk + sk }).map((Keys) => ({
    command: BatchGetCommand,
    input: { RequestItems: { [TableName]: { Keys, ConsistentRead: true } } },
  })),
  fc.uniqueArray(put, { minLength: 1, maxLength: 3, selector: ({ Item }) => Item.pk + Item.sk }).map((puts) => ({
    command: BatchWriteCommand,
    input: { RequestItems: { [TableName]: puts.map(({ Item }) => ({ PutRequest: { Item } })) } },
  })),
  fc
    .tuple(put, remove)
    .map(([Put, Delete]) => ({ command: TransactWriteCommand, input: { TransactItems: [{ Put }, { Delete }] } })),
  fc.constantFrom("sk >= :s", "sk < :s").map((range) => ({
    command: QueryCommand,
    input: {
      TableName,
      KeyConditionExpression: `pk = :pk AND ${range}`,
      ExpressionAttributeValues: { ":pk": "a", ":s": "2" },
      ConsistentRead: true,
    },
  })),
  fc.constant({ command: ScanCommand, input: { TableName } }),
);

interface Answer {
  Item?: object;
  Items?: { pk: string; sk: string }[];
  Attributes?: object;
  Responses?: Record<string, { pk: string; sk: string }[]>;
}
const byKey = (items: { pk: string; sk: string }[]) => items.toSorted((a, b) => (a.pk + a.sk < b.pk + b.sk ? -1 : 1));
/** For a missing item, the engine returns only its key and AWS returns nothing. Callers do not read keys here. */
function withoutKey(attributes: object | undefined): object | undefined {
  const { pk: _p, sk: _s, ...rest } = (attributes ?? {}) as Record<string, unknown>;
  return Object.keys(rest).length === 0 ? undefined : rest;
}
/** The fields that callers read, with unordered items sorted. */
const seen = ({ Item, Items, Attributes, Responses }: Answer) => ({
  Item,
  Items: Items && byKey(Items),
  Attributes: withoutKey(Attributes),
  Responses: Responses && byKey(Responses[TableName] ?? []),
});

describe("the simulation's tables", () => {
  let database: DynamoDb;
  let documents: DynamoDBDocumentClient;
  beforeAll(async () => {
    database = await DynamoDb.start();
    const credentials = { accessKeyId: "test", secretAccessKey: "test" };
    const client = new DynamoDBClient({ endpoint: database.endpoint, region: "us-west-2", credentials });
    await client.send(
      new CreateTableCommand({
        TableName,
        BillingMode: "PAY_PER_REQUEST",
        AttributeDefinitions: ["pk", "sk"].map((AttributeName) => ({ AttributeName, AttributeType: "S" })),
        KeySchema: [
          { AttributeName: "pk", KeyType: "HASH" },
          { AttributeName: "sk", KeyType: "RANGE" },
        ],
      }),
    );
    documents = DynamoDBDocumentClient.from(client);
  });
  afterAll(async () => {
    documents.destroy();
    await database.stop();
  });

  const real = async ({ command, input }: Step) => {
    try {
      return seen((await documents.send(new command(input as never) as never)) as Answer);
    } catch (error) {
      return (error as Error).name;
    }
  };
  const simulated = (tables: Tables, { command, input }: Step) => {
    try {
      return seen(tables.send(command.name, input as Record<string, unknown>) as Answer);
    } catch (error) {
      return (error as Error).name;
    }
  };

  it("give the same answers as the engine", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 25 }), async (steps) => {
        const tables = new Tables({ [TableName]: ["pk", "sk"] });
        const { Items = [] } = await documents.send(new ScanCommand({ TableName }));
        for (const { pk, sk } of Items) await documents.send(new DeleteCommand({ TableName, Key: { pk, sk } }));
        for (const one of steps) expect([one, simulated(tables, one)]).toEqual([one, await real(one)]);
      }),
      { numRuns: 60 },
    );
  });
});
