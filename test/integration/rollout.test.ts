import { execFile, spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { EventBridgeClient, PutEventsCommand } from "@aws-sdk/client-eventbridge";
import { GetObjectCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { BatchWriteCommand, ScanCommand } from "@aws-sdk/lib-dynamodb";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { nginxIn } from "../../edge/agent/nginx/nginx.ts";
import { Session } from "../../local/demo/user.ts";
import type { PartitionUse } from "../../local/services/dynamodb/capacity.ts";
import { rolloutLimits } from "../../schemas/limits.ts";
import { errorName, eventually } from "../local/harness.ts";
import { domain, homeRegion, World } from "./world.ts";

let world: World;
const run = promisify(execFile);
const has = (program: string) => spawnSync(program, ["--version"], { stdio: "ignore" }).error === undefined;
const workers = () =>
  world.cloud.endpoints().edges.map(({ pid }) => readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim());
let workersAtStart: string[];
/** The backend lines of a route file on all edges, each different text once. */
const backendsOf = (file: string) => [
  ...new Set(world.routeFiles(file).map((text) => text?.trim().split("\n").slice(1).join("\n"))),
];

beforeAll(async () => {
  world = await World.start({ edgesPerGroup: 1, names: ["acme", "globex", "moved", "kept", "solo", "again"] });
  workersAtStart = workers();
});
afterAll(() => world?.stop());

describe("a tenant record", () => {
  it("becomes a route that users reach by server name and by slot port, each in the nearest region", async () => {
    await world.put(world.record("acme", { multiRegion: true, protocols: { tls: 3080, ssh: 3023 } }));
    const view = await world.settled("acme", "Admitted");
    expect(view).toMatchObject({
      served: "all",
      regions: ["ap-northeast-1", "eu-west-3", "us-west-2"],
      generation: 1,
      endpoint: "c1.landfall.localhost.example",
    });
    const nearest = { seattle: "us-west-2", paris: "eu-west-3", tokyo: "ap-northeast-1", sydney: "ap-northeast-1" };
    for (const [city, region] of Object.entries(nearest)) {
      expect(await world.lands(world.tls("acme"), city)).toBe(region);
      expect(await world.lands(world.raw(view!.ports.ssh!), city)).toBe(region);
    }
  });

  it("is reached by curl and openssl, from a city's source address", async () => {
    const { address } = world.accelerator;
    const { stdout } = await run(
      "openssl",
      [
        "s_client",
        "-connect",
        `${address}:8443`,
        "-bind",
        `${world.from("paris")}:0`,
        "-servername",
        `acme.${domain}`,
        "-quiet",
        "-ign_eof",
      ],
      { timeout: 5000 },
    ).catch((error: { stdout: string }) => error);
    expect(stdout.split("\n")[0]).toBe("eu-west-3");
    const name = `acme.${domain}`;
    const curl = [
      "-sk",
      "--max-time",
      "3",
      "--http0.9",
      "--interface",
      world.from("tokyo"),
      "--resolve",
      `${name}:8443:${address}`,
      `https://${name}:8443/`,
    ];
    const answer = await run("curl", curl).catch((error: { stdout: string }) => error);
    expect(answer.stdout.split("\n")[0]).toBe("ap-northeast-1");
  });

  it("without multiRegion is served by the home region's backends, through the nearest edge", async () => {
    await world.put(world.record("globex"));
    await world.settled("globex", "Admitted");
    expect(backendsOf(`n/globex.${domain}`)).toEqual([`+${world.pods[homeRegion]}:3080`]);
    expect(await world.lands(world.tls("globex"), "tokyo")).toBe("ap-northeast-1");
  });

  it("changes its backends for new connections and leaves open ones alone", async () => {
    await world.put(world.record("moved", { hostnames: [`moved.${domain}`] }));
    await world.settled("moved", "Admitted");
    const { session } = await Session.open(world.tls("moved"), world.from("seattle"));
    await world.put(world.record("moved", { backends: { [homeRegion]: [world.pods["eu-west-3"]!] } }));
    expect(await world.settled("moved", "Admitted", 2)).toMatchObject({ generation: 2, observedGeneration: 2 });
    expect(backendsOf(`n/moved.${domain}`)).toEqual([`+${world.pods["eu-west-3"]}:3080`]);
    expect(await session.key()).toBeGreaterThan(0);
    session.close();
  });

  it("keeps its slot while it is suspended, resumed and removed", async () => {
    const record = world.record("kept", { protocols: { tls: 3080, ssh: 3023 } });
    await world.put(record);
    const { ssh } = (await world.settled("kept", "Admitted"))!.ports;
    await world.put({ ...record, suspended: true });
    await world.settled("kept", "Suspended");
    expect([await world.lands(world.tls("kept")), await world.lands(world.raw(ssh!))]).toEqual(["nothing", "nothing"]);
    await world.put(record);
    expect((await world.settled("kept", "Admitted"))?.ports.ssh).toBe(ssh);
    expect(await world.lands(world.raw(ssh!))).toBe(homeRegion);
    await world.remove("kept");
    await world.settled("kept", "Removed");
    expect([await world.lands(world.tls("kept")), await world.lands(world.raw(ssh!))]).toEqual(["nothing", "nothing"]);
    expect(world.routeFiles(`n/kept.${domain}`)).toEqual([undefined, undefined, undefined]);
    await world.put(record);
    expect((await world.settled("kept", "Admitted"))?.ports.ssh).toBe(ssh);
  });

  it.each<[string, object, RegExp]>([
    ["a bad hostname", { hostnames: ["not a name"] }, /^hostnames\[0\]: is not a DNS name/],
    [
      "another tenant's hostname",
      { hostnames: [`acme.${domain}`] },
      /acme\.tenants\.localhost\.example belongs to another tenant/,
    ],
    [
      "a backend outside the allowed ranges",
      { backends: { [homeRegion]: ["10.0.0.1"] } },
      /outside the ranges this fleet allows/,
    ],
    [
      "an unknown region",
      { backends: { "eu-west-9": ["127.0.0.1"], [homeRegion]: ["127.0.0.1"] } },
      /is not a region of this fleet/,
    ],
    ["no home region", { homeRegion: undefined }, /^homeRegion: /],
    [
      "wrong types",
      { hostnames: new Set([1]), protocols: { tls: "3080" } },
      /hostnames: must be a list, not a DynamoDB set/,
    ],
    ["a directive in a name", { hostnames: [`x;}.${domain}`] }, /is not a DNS name/],
  ])("with %s is rejected with a reason, and delays no other tenant", async (what, changes, reason) => {
    const tenantId = `bad-${what.replace(/[^a-z]+/g, "-")}`;
    await world.put(
      Object.fromEntries(
        Object.entries({ ...world.record(tenantId), ...changes }).filter(([, value]) => value !== undefined),
      ),
    );
    const view = await world.settled(tenantId, "Rejected");
    expect(view?.reasons.join("\n")).toMatch(reason);
    expect(view?.served).toBe("no");
  });

  it.each<[string, () => Record<string, unknown>]>([
    ["an id of 2,048 bytes", () => world.record("x".repeat(2048))],
    [
      "nine thousand faults",
      () =>
        world.record("faults", {
          backends: Object.fromEntries(Array.from({ length: 9000 }, (_, i) => [`nowhere-${i}`, ["10.0.0.1"]])),
        }),
    ],
    [
      "attribute names of 60 KB",
      () => world.record("wide", Object.fromEntries(Array.from({ length: 5 }, (_, i) => [`${i}`.repeat(60_000), 1]))),
    ],
    ["a protocol named constructor", () => world.record("odd", { protocols: { constructor: 22 }, hostnames: [] })],
  ])("with %s does not stop the others in its batch", async (_, poison) => {
    const TableName = world.cloud.endpoints().tables.tenants;
    const good = `beside-${Math.random().toString(36).slice(2)}`;
    const requests = [poison(), world.record(good)].map((Item) => ({ PutRequest: { Item } }));
    await world.tables.send(new BatchWriteCommand({ RequestItems: { [TableName]: requests } }));
    await world.settled(good, "Admitted");
  });

  it("that becomes bad does not change how the tenant is served", async () => {
    await world.put(world.record("solo"));
    await world.settled("solo", "Admitted");
    await world.put(world.record("solo", { homeRegion: "mars-north-1" }));
    expect(await world.settled("solo", "Rejected")).toMatchObject({ served: "all", generation: 2 });
    expect(await world.lands(world.tls("solo"))).toBe(homeRegion);
  });
});

describe("many records at once", () => {
  it("are all served, each with its own slot, even if events arrive twice", async () => {
    const { faults } = world.cloud.context;
    faults.rates.duplicates = 0.5;
    const ids = Array.from({ length: 60 }, (_, i) => `many-${i}`);
    const TableName = world.cloud.endpoints().tables.tenants;
    for (let from = 0; from < ids.length; from += 25) {
      const requests = ids.slice(from, from + 25).map((id) => ({
        PutRequest: {
          Item: world.record(id, {
            protocols: { tls: 3080, ...(Number(id.slice(5)) % 3 === 0 ? { ssh: 3023 } : {}) },
          }),
        },
      }));
      await world.tables.send(new BatchWriteCommand({ RequestItems: { [TableName]: requests } }));
    }
    for (const id of ids) await world.settled(id, "Admitted");
    faults.rates.duplicates = 0;
    const { Items = [] } = await world.tables.send(
      new ScanCommand({
        TableName: world.cloud.endpoints().tables.ledger,
        FilterExpression: "begins_with(pk, :slot)",
        ExpressionAttributeValues: { ":slot": "SLOT#" },
      }),
    );
    const owners = Items.map((item) => `${item.tenantId} ${item.protocol}`);
    expect(new Set(owners).size).toBe(owners.length);
    for (const id of ids) expect(world.routeFiles(`n/${id}.${domain}`)).not.toContain(undefined);
  });

  it("of one tenant are a few rollouts, and the last record is served", async () => {
    const writes = 80;
    const began = Date.now();
    for (let write = 1; write <= writes; write++)
      await world.put(world.record("busy", { protocols: { tls: 5000 + write } }));
    const seconds = (Date.now() - began) / 1000;
    await eventually(
      () => world.routeFiles(`n/busy.${domain}`),
      (files) => files.every((file) => file?.includes(`:${5000 + writes}`)),
      30_000,
    );
    const { Items = [] } = await world.tables.send(
      new ScanCommand({
        TableName: world.cloud.endpoints().tables.rollouts,
        FilterExpression: "sk = :batch AND contains(tenantIds, :busy)",
        ExpressionAttributeValues: { ":batch": "BATCH", ":busy": "busy" },
      }),
    );
    const { paceBurst, paceMs } = rolloutLimits;
    expect(Items.length).toBeLessThanOrEqual(paceBurst + 2 + (seconds * 1000) / paceMs);
    const turns = () =>
      world.tables.send(
        new ScanCommand({
          TableName: world.cloud.endpoints().tables.rollouts,
          FilterExpression: "sk = :turn",
          ExpressionAttributeValues: { ":turn": "TURN" },
        }),
      );
    // An earlier rollout may have served the last record: the turn then ends with its own, a second later.
    await eventually(turns, ({ Items: left = [] }) => left.length === 0, rolloutLimits.turnLostMs / 2);
  });
});

const homeEdge = () => world.cloud.endpoints().edges.find(({ region }) => region === homeRegion)!;
const workersOf = (pid: number | undefined) =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").map(Number);
/** Connects directly to the edge, because the accelerator's health check may be behind. */
const servesAgain = () =>
  eventually(
    () => world.lands(world.edgeTls("acme", homeEdge().address)),
    (landed) => landed === homeRegion,
    30_000,
  );
const replaced = (pid: number | undefined) =>
  eventually(
    () => homeEdge().pid,
    (now) => now !== undefined && now !== pid,
    30_000,
  );

describe("an edge", () => {
  it("does not reload nginx for any of these changes", () => {
    expect(workers()).toEqual(workersAtStart);
  });

  it("refuses a manifest with a flipped bit, reports it, keeps serving, and accepts the next good one", async () => {
    const s3 = new S3Client(world.client());
    const at = { Bucket: world.cloud.endpoints().buckets[homeRegion]!, Key: "cells/c1/manifest.json" };
    const good = await (await s3.send(new GetObjectCommand(at))).Body!.transformToString();
    const Body = good.replace(/\\"generation\\":(\d)/, (_, digit: string) => `\\"generation\\":${Number(digit) ^ 1}`);
    const here = () => world.edges().then((edges) => edges.find(({ region }) => region === homeRegion));
    const spoilt = async () => {
      await s3.send(new PutObjectCommand({ ...at, Body })); // again and again: a publisher repairs it within a minute
      return here();
    };
    await eventually(spoilt, (edge) => edge?.nack?.includes("no valid signature") === true, 20_000);
    expect(await world.lands(world.tls("acme"))).toBe(homeRegion);
    await s3.send(new PutObjectCommand({ ...at, Body: good }));
    await eventually(here, (edge) => edge?.nack === undefined, 20_000);
    s3.destroy();
  });

  it.each<[string, (good: string) => string]>([
    [
      "an unsigned manifest of a later generation",
      (good) => good.replace(/\\"generation\\":\d+/, '\\"generation\\":99999'),
    ],
    ["a broken manifest", () => "{"],
    ["an empty manifest", () => ""],
  ])("is cut off by %s in its bucket only until the next publication", async (_, spoil) => {
    const s3 = new S3Client(world.client("eu-west-3"));
    const at = { Bucket: world.cloud.endpoints().buckets["eu-west-3"]!, Key: "cells/c1/manifest.json" };
    const good = await (await s3.send(new GetObjectCommand(at))).Body!.transformToString();
    await s3.send(new PutObjectCommand({ ...at, Body: Buffer.from(spoil(good)) }));
    const id = `after-${Math.random().toString(36).slice(2)}`;
    await world.put(world.record(id));
    expect(await world.settled(id, "Admitted")).toMatchObject({
      served: "all",
      regions: ["ap-northeast-1", "eu-west-3", "us-west-2"],
    });
    s3.destroy();
  });

  it("keeps serving when its agent is killed; the agent restarts and applies changes", async () => {
    const { pid, agentPid } = homeEdge();
    process.kill(agentPid!, "SIGKILL");
    expect(await world.lands(world.tls("acme"))).toBe(homeRegion);
    await eventually(homeEdge, (now) => now.agentPid !== undefined && now.agentPid !== agentPid);
    await world.put(world.record("again"));
    await world.settled("again", "Admitted");
    await eventually(
      () => world.routeFiles(`n/again.${domain}`),
      (files) => !files.includes(undefined),
    );
    expect(homeEdge().pid).toBe(pid);
  });

  it("restarts a killed nginx with the same routes", async () => {
    const { pid } = homeEdge();
    const children = workersOf(pid);
    for (const victim of [pid!, ...children]) process.kill(victim, "SIGKILL");
    await replaced(pid);
    await servesAgain();
  });

  it("serves with its workers when the nginx master is dead, and replaces them if they stop answering", async () => {
    const { pid, dir } = homeEdge();
    process.kill(pid!, "SIGKILL");
    expect(await world.lands(world.edgeTls("acme", homeEdge().address))).toBe(homeRegion);
    for (const orphan of nginxIn(path.join(dir, "run"))) process.kill(orphan, "SIGSTOP");
    await replaced(pid);
    await servesAgain();
  });

  it("recovers when its worker, its master and its agent are killed at the same time", async () => {
    const { pid, agentPid } = homeEdge();
    for (const worker of workersOf(pid)) process.kill(worker, "SIGKILL");
    await new Promise((resolve) => setTimeout(resolve, 40)); // the master starts another
    for (const victim of [pid!, agentPid!]) process.kill(victim, "SIGKILL");
    await eventually(homeEdge, (now) => now.pid !== undefined && now.pid !== pid && now.agentPid !== agentPid, 30_000);
    await servesAgain();
  });

  it("may read its own bucket, and write no manifest and no event", async () => {
    const { environment } = world.cloud.context.services.compute.edges.find(
      ({ config }) => config.region === "eu-west-3",
    )!.config;
    const credentials = {
      accessKeyId: environment.AWS_ACCESS_KEY_ID!,
      secretAccessKey: environment.AWS_SECRET_ACCESS_KEY!,
    };
    const s3 = new S3Client({ ...world.client("eu-west-3"), credentials });
    const buckets = world.cloud.endpoints().buckets;
    const Key = "cells/c1/manifest.json";
    expect(await errorName(s3.send(new GetObjectCommand({ Bucket: buckets["eu-west-3"], Key })))).toBe("none");
    expect(await errorName(s3.send(new PutObjectCommand({ Bucket: buckets["eu-west-3"], Key, Body: "{}" })))).toBe(
      "AccessDenied",
    );
    const home = new S3Client({ ...world.client(homeRegion), credentials });
    expect(await errorName(home.send(new GetObjectCommand({ Bucket: buckets[homeRegion], Key })))).toBe("AccessDenied");
    const events = new EventBridgeClient({ ...world.client(homeRegion), credentials });
    const Entries = [{ EventBusName: world.cloud.endpoints().bus, Source: "any", DetailType: "Test", Detail: "{}" }];
    expect(await errorName(events.send(new PutEventsCommand({ Entries })))).toBe("AccessDeniedException");
    events.destroy();
    s3.destroy();
    home.destroy();
  });
});

describe("npm run landfall", () => {
  const say = async (...args: string[]) => {
    const env = { ...process.env, LANDFALL_LOCAL: world.dir, NO_COLOR: "1" };
    const said = await run(process.execPath, ["cli/main.ts", ...args], {
      cwd: path.resolve(import.meta.dirname, "../.."),
      env,
    }).then(
      ({ stdout }) => ({ code: 0, text: stdout }),
      (error: { code: number; stdout: string; stderr: string }) => ({
        code: error.code,
        text: error.stdout + error.stderr,
      }),
    );
    return said;
  };
  const file = (name: string, content: string) => {
    const where = path.join(world.dir, name);
    writeFileSync(where, content);
    return where;
  };

  it("writes, shows, lists and removes a tenant", async () => {
    const record = file(
      "good.json",
      JSON.stringify(world.record("bycommand", { protocols: { tls: 3080, ssh: 3023 } })),
    );
    expect(await say("tenant", "put", record)).toMatchObject({
      code: 0,
      text: expect.stringContaining("bycommand written"),
    });
    await world.settled("bycommand", "Admitted");
    expect((await say("tenant", "show", "bycommand")).text).toMatch(
      /state\s+Admitted[\s\S]*served\s+all[\s\S]*ssh 10\d{3}, tls 443/,
    );
    expect(JSON.parse((await say("tenant", "show", "bycommand", "--json")).text)).toMatchObject({
      tenantId: "bycommand",
      served: "all",
    });
    expect((await say("tenant", "list")).text).toContain("bycommand");
    expect((await say("status")).text).toContain("HEALTHY");
    expect((await say("tenant", "rm", "bycommand")).code).toBe(0);
    await world.settled("bycommand", "Removed");
  });

  it("refuses a record that can't be served, lists each fault, and writes nothing", async () => {
    const bad = file(
      "bad.json",
      JSON.stringify(
        world.record("bad-by-command", { hostnames: ["no name"], backends: { [homeRegion]: ["8.8.8.8"] } }),
      ),
    );
    const { code, text } = await say("tenant", "put", bad);
    expect([code, text.includes("hostnames[0]: is not a DNS name")]).toEqual([1, true]);
    expect(await world.view("bad-by-command")).toBeUndefined();
  });

  it.each<[string, string[], RegExp]>([
    ["a missing file", ["tenant", "put", "/nowhere.json"], /can't be read/],
    ["a file that is not JSON", ["tenant", "put", import.meta.filename], /is not JSON/],
    ["an unknown tenant", ["tenant", "show", "nobody"], /there is no tenant nobody/],
    ["the removal of an unknown tenant", ["tenant", "rm", "nobody"], /there is no tenant nobody/],
    [
      "a region that the fleet lacks",
      ["local", "pod", "--region", "mars-north-1", "--target", "127.0.0.1:1"],
      /use one of us-west-2/,
    ],
    ["an invalid target", ["local", "pod", "--region", homeRegion, "--target", "22"], /HOST:PORT/],
  ])("explains what is wrong with %s, without a stack trace", async (_, args, reason) => {
    const { code, text } = await say(...args);
    expect(code).toBe(1);
    expect(text).toMatch(reason);
    expect(text).not.toContain("    at ");
  });

  it("gives a real server an address in a region, with the region's latency", async () => {
    const { text } = await say(
      "local",
      "pod",
      "--region",
      "ap-northeast-1",
      "--target",
      `127.0.0.1:${world.server.rawPort}`,
    );
    const [, host = "", port] = /^(127\.\d+\.102\.\d+):(\d+)\n$/.exec(text) ?? [];
    const { session } = await Session.open({ host, port: Number(port) }, world.from("tokyo"));
    expect(await session.key()).toBeGreaterThanOrEqual(5);
    session.close();
  });
});

describe("hostile clients", () => {
  it.each([
    ["a path out of the routes' folder", "../../state/manifest.json"],
    ["a percent-encoded path", "..%2f..%2fetc%2fpasswd"],
    ["a name without a tenant", `nobody.${domain}`],
    ["a name of 255 characters", "a".repeat(255)],
  ])("get nothing for %s", async (_, servername) => {
    const { address } = world.accelerator;
    const { stdout = "" } = await run(
      "openssl",
      ["s_client", "-connect", `${address}:8443`, "-servername", servername, "-quiet"],
      { timeout: 5000 },
    ).catch((error: { stdout: string }) => error);
    expect(stdout).toBe("");
    expect(await world.lands(world.tls("acme"))).not.toBe("nothing");
  });
});

describe("the AWS CLI", () => {
  it.runIf(has("aws"))("works with the cloud as with AWS", async () => {
    const { aws, tables } = world.cloud.endpoints();
    const cli = async (...words: string[]) => {
      const env = {
        ...process.env,
        AWS_ACCESS_KEY_ID: aws.accessKeyId,
        AWS_SECRET_ACCESS_KEY: aws.secretAccessKey,
        AWS_DEFAULT_REGION: aws.region,
      };
      const { stdout } = await run("aws", ["--endpoint-url", aws.endpoint, ...words], { env });
      return stdout === "" ? {} : (JSON.parse(stdout) as Record<string, never>);
    };
    expect(await cli("sts", "get-caller-identity")).toMatchObject({ Account: "123456789012" });
    expect(
      await cli("dynamodb", "get-item", "--table-name", tables.tenants, "--key", '{"tenantId":{"S":"acme"}}'),
    ).toMatchObject({ Item: { tenantId: { S: "acme" } } });
    expect(await cli("stepfunctions", "list-state-machines")).toMatchObject({
      stateMachines: expect.arrayContaining([expect.objectContaining({ name: "landfall-local-tenant-rollout" })]),
    });
    expect(
      await cli(
        "events",
        "test-event-pattern",
        "--event-pattern",
        '{"source":["a"]}',
        "--event",
        '{"id":"1","account":"1","source":"a","time":"2026-01-01T00:00:00Z","region":"r","resources":[],"detail-type":"d","detail":{}}',
      ),
    ).toEqual({ Result: true });
    expect(await cli("globalaccelerator", "list-accelerators", "--region", "us-west-2")).toMatchObject({
      Accelerators: [{ Name: "landfall-local-c1", Status: "DEPLOYED" }],
    });
    expect(await cli("ec2", "describe-instances")).toMatchObject({
      Reservations: [{ Instances: [{ State: { Name: "running" } }] }],
    });
    expect(await cli("autoscaling", "describe-auto-scaling-groups")).toMatchObject({
      AutoScalingGroups: [{ DesiredCapacity: 1 }],
    });
    expect(
      await cli(
        "s3api",
        "list-objects-v2",
        "--bucket",
        world.cloud.endpoints().buckets[homeRegion]!,
        "--prefix",
        "cells/",
      ),
    ).toMatchObject({ Contents: [{ Key: "cells/c1/manifest.json" }] });
    expect(await cli("ssm", "get-parameter", "--name", "/landfall/local/mode")).toMatchObject({
      Parameter: { Value: "enforce" },
    });
  });
  if (!has("aws")) console.warn("the AWS CLI is not installed: its test is skipped");
});

describe("the cloud", () => {
  it("has counted what each partition of the tables took in its busiest second", async () => {
    const status = await fetch(`${world.cloud.endpoints().aws.endpoint}/_landfall/status`);
    const { partitions } = (await status.json()) as { partitions: PartitionUse[] };
    expect(partitions.length).toBeGreaterThan(1);
    expect(Math.max(...partitions.map(({ peakWriteUnits }) => peakWriteUnits))).toBeGreaterThan(0);
  });

  it("has no internal fault during these tests", () => {
    expect(world.faults).toEqual([]);
  });
});
