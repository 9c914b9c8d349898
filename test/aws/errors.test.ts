/** Law 10 over errors that real clients make of real responses: what passes is no verdict, and a part is not the whole. */
import http from "node:http";
import type net from "node:net";
import { DynamoDBClient, GetItemCommand, TransactWriteItemsCommand } from "@aws-sdk/client-dynamodb";
import { DescribeInstancesCommand, EC2Client } from "@aws-sdk/client-ec2";
import { EventBridgeClient, PutEventsCommand } from "@aws-sdk/client-eventbridge";
import { GlobalAcceleratorClient, ListAcceleratorsCommand } from "@aws-sdk/client-global-accelerator";
import { KMSClient, SignCommand } from "@aws-sdk/client-kms";
import { GetObjectCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { SFNClient, StartExecutionCommand } from "@aws-sdk/client-sfn";
import { GetParametersCommand, SSMClient } from "@aws-sdk/client-ssm";
import { NodeHttpHandler } from "@smithy/node-http-handler";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { isNoVerdict, isTransient } from "../../aws/transient.ts";
import { functionEnvironment } from "../fixtures/environment.ts";

type Answer = (response: http.ServerResponse, request: http.IncomingMessage, body: string) => void;
let answer: Answer;
const server = http.createServer((request, response) => {
  let body = "";
  request.on("data", (chunk) => {
    body += chunk;
  });
  request.on("end", () => answer(response, request, body));
});
let endpoint = "";
const clients: { destroy(): void }[] = [];

beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  endpoint = `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`;
  Object.assign(process.env, functionEnvironment(endpoint));
});
afterAll(() => {
  for (const client of clients) client.destroy();
  server.closeAllConnections();
  server.close();
});

const options = () => ({
  endpoint,
  region: "us-west-2",
  maxAttempts: 1,
  credentials: { accessKeyId: "key", secretAccessKey: "secret" },
  requestHandler: new NodeHttpHandler({ requestTimeout: 300, throwOnRequestTimeout: true, connectionTimeout: 300 }),
});
function made<Client extends { destroy(): void }>(client: Client): Client {
  clients.push(client);
  return client;
}
const json =
  (status: number, type: string, more: object = {}): Answer =>
  (response) =>
    response
      .writeHead(status, { "content-type": "application/x-amz-json-1.0" })
      .end(JSON.stringify({ __type: `com.amazonaws#${type}`, message: type, ...more }));
const xml =
  (status: number, body: string): Answer =>
  (response) =>
    response.writeHead(status, { "content-type": "application/xml" }).end(body);
const s3Error = (status: number, code: string) =>
  xml(status, `<?xml version="1.0"?><Error><Code>${code}</Code><Message>m</Message></Error>`);
const ec2Error = (status: number, code: string) =>
  xml(status, `<Response><Errors><Error><Code>${code}</Code><Message>m</Message></Error></Errors></Response>`);

const calls: Record<string, () => Promise<unknown>> = {
  dynamodb: () =>
    made(new DynamoDBClient(options())).send(new GetItemCommand({ TableName: "t", Key: { id: { S: "1" } } })),
  transaction: () => made(new DynamoDBClient(options())).send(new TransactWriteItemsCommand({ TransactItems: [] })),
  s3: () =>
    made(new S3Client({ ...options(), forcePathStyle: true })).send(new GetObjectCommand({ Bucket: "b", Key: "k" })),
  put: () =>
    made(new S3Client({ ...options(), forcePathStyle: true })).send(
      new PutObjectCommand({ Bucket: "b", Key: "k", Body: "x", IfMatch: "e" }),
    ),
  ssm: () => made(new SSMClient(options())).send(new GetParametersCommand({ Names: ["n"] })),
  kms: () =>
    made(new KMSClient(options())).send(
      new SignCommand({ KeyId: "k", Message: new Uint8Array(1), SigningAlgorithm: "ED25519_SHA_512" }),
    ),
  states: () => made(new SFNClient(options())).send(new StartExecutionCommand({ stateMachineArn: "arn:m" })),
  events: () => made(new EventBridgeClient(options())).send(new PutEventsCommand({ Entries: [] })),
  ec2: () => made(new EC2Client(options())).send(new DescribeInstancesCommand({})),
  accelerator: () => made(new GlobalAcceleratorClient(options())).send(new ListAcceleratorsCommand({})),
};
const failureOf = (call: string) =>
  calls[call]!().then(
    () => {
      throw new Error("the call succeeded");
    },
    (error: unknown) => error,
  );

describe("isTransient", () => {
  const cancelled = (...codes: string[]) =>
    json(400, "TransactionCanceledException", { CancellationReasons: codes.map((Code) => ({ Code })) });

  it.each<[string, string, Answer]>([
    ["dynamodb", "a throttle", json(400, "ThrottlingException")],
    ["dynamodb", "a hot partition", json(400, "ProvisionedThroughputExceededException")],
    ["dynamodb", "an account's limit", json(400, "RequestLimitExceeded")],
    ["dynamodb", "its own fault", json(500, "InternalServerError")],
    [
      "dynamodb",
      "being away, in a load balancer's words",
      (response) => response.writeHead(503).end("<html>busy</html>"),
    ],
    ["dynamodb", "a gateway's time-out", (response) => response.writeHead(504).end()],
    ["dynamodb", "a reset connection", (response) => response.socket?.destroy()],
    ["dynamodb", "a hang", () => {}],
    [
      "dynamodb",
      "half an answer",
      (response) => {
        response.writeHead(200, { "content-length": "100" }).write('{"Item"');
        setTimeout(() => response.socket?.destroy(), 20);
      },
    ],
    ["transaction", "a conflict", cancelled("None", "TransactionConflict")],
    ["transaction", "a throttled item", cancelled("ThrottlingError", "None")],
    ["transaction", "a conflict of a single write", json(400, "TransactionConflictException")],
    ["transaction", "one in progress", json(400, "TransactionInProgressException")],
    ["s3", "a slow-down", s3Error(503, "SlowDown")],
    ["s3", "its own fault", s3Error(500, "InternalError")],
    ["s3", "a time-out", s3Error(400, "RequestTimeout")],
    ["put", "a conditional write beside another", s3Error(409, "ConditionalRequestConflict")],
    ["ssm", "a throttle", json(400, "ThrottlingException")],
    ["kms", "a throttle", json(400, "ThrottlingException")],
    ["kms", "its own fault", json(500, "KMSInternalException")],
    ["kms", "a dependency's time-out", json(500, "DependencyTimeoutException")],
    ["states", "a throttle", json(400, "ThrottlingException")],
    ["events", "a throttle", json(400, "ThrottlingException")],
    ["events", "its own fault", json(500, "InternalException")],
    ["ec2", "a throttle", ec2Error(503, "RequestLimitExceeded")],
    ["ec2", "its own fault", ec2Error(500, "InternalError")],
    ["accelerator", "a throttle", json(400, "ThrottlingException")],
    ["accelerator", "its own fault", json(500, "InternalServiceErrorException")],
  ])("is true for %s: %s", async (call, _, given) => {
    answer = given;
    const error = await failureOf(call);
    expect([(error as Error).name, isTransient(error), isNoVerdict(error)]).toEqual([expect.any(String), true, true]);
  });

  it.each<[string, string, Answer]>([
    ["dynamodb", "a missing permission", json(400, "AccessDeniedException")],
    ["dynamodb", "a missing table", json(400, "ResourceNotFoundException")],
    ["dynamodb", "credentials that expired", json(400, "ExpiredTokenException")],
    ["s3", "a missing permission", s3Error(403, "AccessDenied")],
  ])("is false for %s: %s, which is no verdict on a tenant either", async (call, _, given) => {
    answer = given;
    const error = await failureOf(call);
    expect([isTransient(error), isNoVerdict(error)]).toEqual([false, true]);
  });

  it.each<[string, string, Answer]>([
    ["dynamodb", "an item that is too large", json(400, "ValidationException")],
    [
      "transaction",
      "a condition that failed beside a conflict",
      cancelled("TransactionConflict", "ConditionalCheckFailed"),
    ],
    ["transaction", "a value that can't be", cancelled("ValidationError", "None")],
  ])("is false for %s: %s", async (call, _, given) => {
    answer = given;
    const error = await failureOf(call);
    expect([isTransient(error), isNoVerdict(error)]).toEqual([false, false]);
  });

  it("is false for a fault of our own", () => {
    expect([isTransient(new TypeError("x")), isNoVerdict(new TypeError("x")), isNoVerdict("x")]).toEqual([
      false,
      false,
      false,
    ]);
  });
});

describe("a read that comes back in parts", () => {
  let asked: string[][];
  beforeEach(() => {
    asked = [];
  });
  /** A table that processes `most` keys of a batch, and answers queries with one item a page. */
  const inParts =
    (most: number): Answer =>
    (response, request, body) => {
      const input = JSON.parse(body) as {
        RequestItems?: Record<string, { Keys: { tenantId: { S: string } }[] }>;
        ExclusiveStartKey?: { sk: { S: string } };
      };
      response.writeHead(200, { "content-type": "application/x-amz-json-1.0" });
      if (!String(request.headers["x-amz-target"]).endsWith("BatchGetItem")) {
        const at = Number(input.ExclusiveStartKey?.sk.S ?? 0) + 1;
        const key = { pk: { S: "EDGES" }, sk: { S: String(at) } };
        return response.end(JSON.stringify({ Items: [key], ...(at < 5 ? { LastEvaluatedKey: key } : {}) }));
      }
      const [[table, { Keys }]] = Object.entries(input.RequestItems!) as [
        [string, { Keys: { tenantId: { S: string } }[] }],
      ];
      asked.push(Keys.map(({ tenantId }) => tenantId.S));
      const UnprocessedKeys = Keys.length > most ? { [table]: { Keys: Keys.slice(most) } } : {};
      response.end(JSON.stringify({ Responses: { [table]: Keys.slice(0, most) }, UnprocessedKeys }));
    };
  const ids = Array.from({ length: 250 }, (_, index) => `tenant-${index}`);

  it("is asked for again until every key was read, so that no tenant looks deleted", async () => {
    const { readRecords } = await import("../../aws/tenants.ts");
    answer = inParts(30);
    expect([...(await readRecords(ids)).keys()].sort()).toEqual(ids.toSorted());
    expect(Math.max(...asked.map((keys) => keys.length))).toBeLessThanOrEqual(100);
  });

  it("fails as a throttle when nothing is read, and returns no part of it", async () => {
    const { readRecords } = await import("../../aws/tenants.ts");
    answer = inParts(0);
    const error = await readRecords(ids).catch((failure: unknown) => failure);
    expect([(error as Error).name, isTransient(error)]).toEqual(["ThrottledError", true]);
  });

  it("is read page by page to its end", async () => {
    const { queryAll } = await import("../../aws/ledger/query.ts");
    answer = inParts(30);
    expect(await queryAll("EDGES")).toHaveLength(5);
  });
});
