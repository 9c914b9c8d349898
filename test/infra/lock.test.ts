import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { EdgeSettings } from "../../edge/agent/settings.ts";
import { settingsIn } from "../../edge/user-data.ts";
import { Lock, lockFile, relocate } from "../../local/lock.ts";
import { Fleet } from "../../schemas/fleet.ts";
import { Structure } from "../../schemas/snapshot.ts";

const root = path.resolve(import.meta.dirname, "../..");
const text = readFileSync(lockFile, "utf8");
const lock = new Lock(text);
const keys = Object.keys((JSON.parse(text) as { resources: object }).resources);

describe("infra.lock.json", () => {
  it("matches the output of sst.config.ts", async () => {
    await promisify(execFile)(process.execPath, ["infra/synth/main.ts", "--check"], { cwd: root });
  }, 240_000);

  it("has no endpoint groups, because the controller manages them", () => {
    expect(keys.filter((key) => key.includes("EndpointGroup"))).toEqual([]);
    expect(keys.filter((key) => key.startsWith("aws:globalaccelerator/listener"))).toHaveLength(1);
  });

  it("limits the effect of a bad record on each stream", () => {
    const mappings = lock.all("aws:lambda/eventSourceMapping:EventSourceMapping");
    expect(mappings.map(({ name, inputs }) => [name, inputs.maximumRetryAttempts])).toEqual([
      ["ReportsStream", 3],
      ["ReportsStreamBeats", 3],
      ["TenantsStream", 10],
    ]);
    for (const { inputs } of mappings)
      expect(inputs).toMatchObject({
        bisectBatchOnFunctionError: true,
        functionResponseTypes: ["ReportBatchItemFailures"],
        destinationConfig: { onFailure: { destinationArn: expect.stringMatching(/^arn:aws:s3:::/) } },
      });
  });

  it("lets an edge write its own report, read its region's bucket, and nothing else", () => {
    const policies = lock.all("aws:iam/rolePolicy:RolePolicy").filter(({ name }) => name.startsWith("Edge-"));
    expect(policies).toHaveLength(3);
    for (const { inputs } of policies) {
      const { Statement } = JSON.parse(String(inputs.policy)) as { Statement: { Action: string[] }[] };
      expect(Statement.map(({ Action }) => Action)).toEqual([
        ["s3:GetObject"],
        ["s3:ListBucket"],
        ["dynamodb:PutItem"],
      ]);
      expect(Statement[2]).toMatchObject({
        Condition: { "ForAllValues:StringEquals": { "dynamodb:LeadingKeys": ["${aws:userid}"] } },
      });
    }
  });

  it("gives no function all actions of a service", () => {
    for (const { name, inputs } of lock.all("aws:iam/role:Role"))
      for (const { policy } of (inputs.inlinePolicies as { policy: string }[] | undefined) ?? [])
        expect(`${name} ${policy}`).not.toMatch(/"[a-z0-9]+:\*"/);
  });

  it("lets only apply-accelerator write to the accelerator", () => {
    const writers = lock
      .all("aws:iam/role:Role")
      .filter(({ inputs }) => JSON.stringify(inputs).includes("UpdateEndpointGroup"));
    expect(writers.map(({ name }) => name)).toEqual(["ApplyAcceleratorRole"]);
  });

  it("has a snapshot bucket and an edge group in every region", () => {
    for (const region of ["us-west-2", "eu-west-3", "ap-northeast-1"]) {
      expect(
        lock
          .all("aws:s3/bucket:Bucket")
          .filter(({ name, inputs }) => name.startsWith("Snapshots") && inputs.region === region),
      ).toHaveLength(1);
      expect(lock.all("aws:autoscaling/group:Group").filter(({ inputs }) => inputs.region === region)).toHaveLength(1);
    }
  });

  it("contains a fleet, a structure and user data that their readers accept", () => {
    const fleet = lock.all("aws:ssm/parameter:Parameter").find(({ name }) => name === "FleetParameter");
    expect(Fleet.parse(JSON.parse(String(fleet?.inputs.value))).cells).toHaveLength(1);
    for (const { inputs } of lock.all("aws:s3/bucketObjectv2:BucketObjectv2"))
      Structure.parse(JSON.parse(String(inputs.content)));
    for (const { inputs } of lock.all("aws:ec2/launchTemplate:LaunchTemplate"))
      EdgeSettings.parse(settingsIn(Buffer.from(String(inputs.userData), "base64").toString()));
  });
});

describe("relocate", () => {
  it("moves every address, and renames the structure to match its new bytes", () => {
    const moved = relocate(text, 90);
    expect(moved).not.toContain("127.77.");
    const [object] = new Lock(moved).all("aws:s3/bucketObjectv2:BucketObjectv2");
    const structure = new Lock(moved)
      .all("aws:ssm/parameter:Parameter")
      .find(({ name }) => name === "StructuresParameter");
    expect(object?.inputs.key).toBe(`objects/${JSON.parse(String(structure?.inputs.value)).c1}`);
    expect(object?.inputs.key).not.toBe(lock.all("aws:s3/bucketObjectv2:BucketObjectv2")[0]?.inputs.key);
  });
});
