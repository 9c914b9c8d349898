import { createPublicKey, verify } from "node:crypto";
import { DynamoDBClient, GetItemCommand, ListTablesCommand } from "@aws-sdk/client-dynamodb";
import { GetPublicKeyCommand, KMSClient, SignCommand, VerifyCommand } from "@aws-sdk/client-kms";
import {
  CreateScheduleCommand,
  DeleteScheduleCommand,
  GetScheduleCommand,
  SchedulerClient,
} from "@aws-sdk/client-scheduler";
import {
  DeleteParameterCommand,
  GetParameterCommand,
  GetParametersByPathCommand,
  GetParametersCommand,
  type ParameterHistory,
  PutParameterCommand,
  paginateGetParameterHistory,
  SSMClient,
} from "@aws-sdk/client-ssm";
import { GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Iam } from "../../local/iam/iam.ts";
import { DynamoDb } from "../../local/services/dynamodb/dynamodb.ts";
import { Kms } from "../../local/services/kms.ts";
import { Scheduler } from "../../local/services/scheduler.ts";
import { Ssm } from "../../local/services/ssm.ts";
import { sts } from "../../local/services/sts.ts";
import { account, errorName, eventually, startGateway } from "./harness.ts";

const keyArn = `arn:aws:kms:us-west-2:${account}:key/SigningKey`;
const reader = `arn:aws:iam::${account}:role/reader`;
const kms = new Kms();
kms.createKey(keyArn);
const fired: string[] = [];
const scheduler = new Scheduler({ account, deliver: async (_, input) => void fired.push(input), onFault: () => {} });
let database: DynamoDb;
let gateway: Awaited<ReturnType<typeof startGateway>>;

beforeAll(async () => {
  database = await DynamoDb.start();
  const iam = new Iam(account);
  iam.addKey("reader", { arn: `${reader}/session`, roleArn: reader, account, userId: "AROA:session" });
  iam.addPolicy(
    reader,
    JSON.stringify({
      Statement: [
        { Effect: "Allow", Action: ["ssm:GetParameter*"], Resource: `arn:aws:ssm:*:*:parameter/landfall/test/*` },
        { Effect: "Allow", Action: "dynamodb:GetItem", Resource: `arn:aws:dynamodb:us-west-2:${account}:table/mine` },
      ],
    }),
  );
  gateway = await startGateway(
    [new Ssm(account).service(), kms.service(), sts, scheduler.service(), database.service(iam, "us-west-2")],
    iam,
  );
});
afterAll(async () => {
  scheduler.stop();
  await gateway.close();
  database.stop();
});

describe("SSM", () => {
  it("keeps parameters by region, and overwrites only when told to", async () => {
    const client = new SSMClient(gateway.client());
    const put = (Value: string, Overwrite?: boolean) =>
      client.send(new PutParameterCommand({ Name: "/a/b/c", Value, Type: "String", Overwrite }));
    await put("1");
    expect(await errorName(put("2"))).toBe("ParameterAlreadyExists");
    expect((await put("2", true)).Version).toBe(2);
    expect((await client.send(new GetParameterCommand({ Name: "/a/b/c" }))).Parameter).toMatchObject({
      Value: "2",
      Version: 2,
    });
    expect((await client.send(new GetParametersCommand({ Names: ["/a/b/c", "/x"] }))).InvalidParameters).toEqual([
      "/x",
    ]);
    expect((await client.send(new GetParametersByPathCommand({ Path: "/a" }))).Parameters).toEqual([]);
    expect(
      (await client.send(new GetParametersByPathCommand({ Path: "/a", Recursive: true }))).Parameters,
    ).toHaveLength(1);
    const far = new SSMClient(gateway.client("admin", "eu-west-3"));
    expect(await errorName(far.send(new GetParameterCommand({ Name: "/a/b/c" })))).toBe("ParameterNotFound");
    await client.send(new DeleteParameterCommand({ Name: "/a/b/c" }));
    expect(await errorName(client.send(new GetParameterCommand({ Name: "/a/b/c" })))).toBe("ParameterNotFound");
  });
});

describe("SSM's history", () => {
  it("has the versions of a parameter, oldest first, at most a hundred, 50 a page", async () => {
    const client = new SSMClient(gateway.client());
    const Name = "/history/x";
    for (let value = 1; value <= 120; value++)
      await client.send(new PutParameterCommand({ Name, Value: String(value), Type: "String", Overwrite: true }));
    const pages: ParameterHistory[][] = [];
    for await (const { Parameters = [] } of paginateGetParameterHistory({ client }, { Name })) pages.push(Parameters);
    expect(pages.map(({ length }) => length)).toEqual([50, 50]);
    const versions = pages.flat();
    expect(versions.map(({ Version }) => Version)).toEqual(Array.from({ length: 100 }, (_, index) => index + 21));
    expect(versions.every(({ Value, Version }) => Value === String(Version))).toBe(true);
  });
});

describe("KMS", () => {
  const client = () => new KMSClient(gateway.client());
  const signing = { KeyId: keyArn, SigningAlgorithm: "ED25519_SHA_512" as const, MessageType: "RAW" as const };

  it("makes signatures that the public key verifies", async () => {
    const Message = Buffer.from("a manifest");
    const { Signature } = await client().send(new SignCommand({ ...signing, Message }));
    const { PublicKey } = await client().send(new GetPublicKeyCommand({ KeyId: keyArn }));
    const key = createPublicKey({ key: Buffer.from(PublicKey!), format: "der", type: "spki" });
    expect(verify(null, Message, key, Signature!)).toBe(true);
    expect((await client().send(new VerifyCommand({ ...signing, Message, Signature }))).SignatureValid).toBe(true);
    expect(
      await errorName(client().send(new VerifyCommand({ ...signing, Message: Buffer.from("another"), Signature }))),
    ).toBe("KMSInvalidSignatureException");
  });

  it("takes at most 4,096 bytes, as AWS does", async () => {
    expect(await errorName(client().send(new SignCommand({ ...signing, Message: Buffer.alloc(4096) })))).toBe("none");
    expect(await errorName(client().send(new SignCommand({ ...signing, Message: Buffer.alloc(4097) })))).toBe(
      "ValidationException",
    );
  });
});

describe("STS", () => {
  it("returns the caller's identity", async () => {
    expect((await new STSClient(gateway.client()).send(new GetCallerIdentityCommand({}))).Account).toBe(account);
    expect((await new STSClient(gateway.client("reader")).send(new GetCallerIdentityCommand({}))).Arn).toBe(
      `${reader}/session`,
    );
  });

  it("refuses an unknown access key", async () => {
    expect(await errorName(new STSClient(gateway.client("stranger")).send(new GetCallerIdentityCommand({})))).toBe(
      "UnrecognizedClientException",
    );
  });
});

describe("Scheduler", () => {
  it("starts its target when a schedule is made", async () => {
    const client = new SchedulerClient(gateway.client());
    const Target = { Arn: "arn:aws:states:::x", RoleArn: "role", Input: '{"cells":["c1"]}' };
    const create = (ScheduleExpression: string) =>
      client.send(
        new CreateScheduleCommand({ Name: "s", ScheduleExpression, Target, FlexibleTimeWindow: { Mode: "OFF" } }),
      );
    expect(await errorName(create("cron(0 0 * * ? *)"))).toBe("ValidationException");
    await create("rate(1 minutes)");
    await eventually(
      () => fired,
      (list) => list.length === 1 && list[0] === '{"cells":["c1"]}',
    );
    expect((await client.send(new GetScheduleCommand({ Name: "s" }))).ScheduleExpression).toBe("rate(1 minutes)");
    await client.send(new DeleteScheduleCommand({ Name: "s" }));
    expect(await errorName(client.send(new GetScheduleCommand({ Name: "s" })))).toBe("ResourceNotFoundException");
  });
});

describe("policies", () => {
  it("allow what they name, and nothing else", async () => {
    const ssm = new SSMClient(gateway.client("reader"));
    expect(await errorName(ssm.send(new GetParameterCommand({ Name: "/landfall/test/x" })))).toBe("ParameterNotFound");
    expect(await errorName(ssm.send(new GetParameterCommand({ Name: "/landfall/production/x" })))).toBe(
      "AccessDeniedException",
    );
    expect(
      await errorName(ssm.send(new PutParameterCommand({ Name: "/landfall/test/x", Value: "1", Type: "String" }))),
    ).toBe("AccessDeniedException");
  });

  it("hold for DynamoDB, table by table", async () => {
    const client = new DynamoDBClient(gateway.client("reader"));
    const get = (TableName: string) => client.send(new GetItemCommand({ TableName, Key: { id: { S: "1" } } }));
    expect(await errorName(get("mine"))).toBe("ResourceNotFoundException");
    expect(await errorName(get("yours"))).toBe("AccessDeniedException");
    expect(await errorName(client.send(new ListTablesCommand({})))).toBe("AccessDeniedException");
  });

  it("refuse unimplemented fields instead of ignoring them", () => {
    const statement = { Effect: "Allow", Action: "s3:*", Resource: "*" };
    const policy = (changes: object) => JSON.stringify({ Statement: [{ ...statement, ...changes }] });
    expect(() => new Iam(account).addPolicy(reader, policy({ NotPrincipal: "*" }))).toThrow("NotPrincipal");
    const odd = { Condition: { IpAddress: { "aws:SourceIp": "10.0.0.0/8" } } };
    expect(() => new Iam(account).addPolicy(reader, policy(odd))).toThrow("IpAddress");
  });
});
