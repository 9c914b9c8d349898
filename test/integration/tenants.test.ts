/** A fleet of two cells: no room, refused routes, new structures, lost regions, a restored ledger. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { DeleteObjectCommand, GetObjectCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { DescribeExecutionCommand, SFNClient, StartExecutionCommand } from "@aws-sdk/client-sfn";
import { GetParameterCommand, PutParameterCommand, SSMClient } from "@aws-sdk/client-ssm";
import { DeleteCommand, GetCommand, PutCommand, paginateScan, QueryCommand } from "@aws-sdk/lib-dynamodb";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import type { AuditNote } from "../../aws/ledger/audit.ts";
import type { Fleet } from "../../schemas/fleet.ts";
import { tenantLimits } from "../../schemas/limits.ts";
import { sha256 } from "../../schemas/signed.ts";
import { objectKey, type Structure } from "../../schemas/snapshot.ts";
import { eventually } from "../local/harness.ts";
import { domain, homeRegion, World } from "./world.ts";

const root = path.resolve(import.meta.dirname, "../..");
/** Functions cache settings for seconds, and these tests mostly wait for that. */
vi.setConfig({ testTimeout: 120_000 });
const names = ["acme", "globex", "early", "late", "gone", "fresh", "odd", "while-bad", "newcomer", "beside"];
/** Functions cache settings for five seconds. */
const settingsMs = 5500;

let world: World;
let dir: string;
let ssm: SSMClient;
let machines: SFNClient;

beforeAll(async () => {
  dir = mkdtempSync(path.join(os.tmpdir(), "landfall-cells-"));
  const lockFile = path.join(dir, "infra.lock.json");
  const env = { ...process.env, LANDFALL_LOCAL_CELLS: "2" };
  const synth = spawnSync(process.execPath, ["infra/synth/main.ts", "--out", lockFile], {
    cwd: root,
    env,
    encoding: "utf8",
  });
  expect(synth.stderr + synth.status).toBe("0");
  world = await World.start({ edgesPerGroup: 1, lockFile, names });
  ssm = new SSMClient(world.client());
  machines = new SFNClient(world.client());
  await change({ coolOffSeconds: { slot: 0, name: 0 }, structureBakeSeconds: 0 });
}, 180_000);
afterAll(async () => {
  ssm?.destroy();
  machines?.destroy();
  await world?.stop();
  rmSync(dir, { recursive: true, force: true });
});

const parameter = async (name: string) => {
  const { Parameter } = await ssm.send(new GetParameterCommand({ Name: `/landfall/local/${name}` }));
  return JSON.parse(Parameter!.Value!) as never;
};
const setParameter = (name: string, value: object) =>
  ssm.send(new PutParameterCommand({ Name: `/landfall/local/${name}`, Value: JSON.stringify(value), Overwrite: true }));

/** Changes the fleet, and waits until every function has the change. */
async function change(changes: Partial<Fleet>): Promise<Fleet> {
  const before = (await parameter("fleet")) as Fleet;
  await setParameter("fleet", { ...before, ...changes });
  await sleep(settingsMs);
  return before;
}

/** Runs a machine to its end. */
async function run(machine: "reconcile" | "audit"): Promise<void> {
  const { executionArn } = await machines.send(
    new StartExecutionCommand({
      stateMachineArn: `arn:aws:states:${homeRegion}:123456789012:stateMachine:landfall-local-${machine}`,
      input: JSON.stringify({ cells: ["c1", "c2"] }),
    }),
  );
  const { status } = await eventually(
    () => machines.send(new DescribeExecutionCommand({ executionArn })),
    (execution) => execution.status !== "RUNNING",
    60_000,
  );
  expect(status).toBe("SUCCEEDED");
}
/** Starts a rollout of these tenants. */
async function roll(batchId: string, tenantIds: string[]) {
  const { createBatch } = await import("../../aws/ledger/batches.ts");
  await createBatch(batchId, tenantIds, Date.now());
  const stateMachineArn = `arn:aws:states:${homeRegion}:123456789012:stateMachine:landfall-local-tenant-rollout`;
  const input = JSON.stringify({ batchId });
  return machines.send(new StartExecutionCommand({ stateMachineArn, name: batchId, input }));
}
/** Runs two audits, and makes everything due that the first one noted, as if time had passed between them. */
async function auditTwice(): Promise<void> {
  await run("audit");
  const TableName = world.cloud.endpoints().tables.ledger;
  const { Items = [] } = await world.tables.send(
    new QueryCommand({ TableName, KeyConditionExpression: "pk = :pk", ExpressionAttributeValues: { ":pk": "DRIFT" } }),
  );
  for (const { note, ...item } of Items) {
    const findings = (note as AuditNote).findings.map((finding) => ({ ...finding, nextAt: 0 }));
    await world.tables.send(new PutCommand({ TableName, Item: { ...item, note: { ...note, findings } } }));
  }
  await run("audit");
}
/** Everything in the ledger. */
const TableName = () => world.cloud.endpoints().tables.ledger;
async function items(): Promise<Record<string, unknown>[]> {
  const found: Record<string, unknown>[] = [];
  for await (const { Items = [] } of paginateScan({ client: world.tables }, { TableName: TableName() }))
    found.push(...Items);
  return found;
}

const cellNamed = async (name: string) => (await world.cells()).find(({ cell }) => cell === name)!;
const conditions = async (tenantId: string) =>
  (await world.view(tenantId))!.conditions.map(({ type, status, reason }) => `${type} ${status} ${reason}`);

describe("two cells", () => {
  it("divide new tenants between them, and each serves its own through its own accelerator", async () => {
    await world.put(world.record("acme", { protocols: { tls: 3080, ssh: 3023 } }));
    const acme = await world.settled("acme", "Admitted");
    await world.put(world.record("globex", { protocols: { tls: 3080, ssh: 3023 } }));
    const globex = await world.settled("globex", "Admitted");
    expect([acme!.cell, globex!.cell].sort()).toEqual(["c1", "c2"]);
    const [one, two] = world.cloud.endpoints().accelerators;
    expect(one!.address).not.toBe(two!.address);
    for (const { cell, ports } of [acme!, globex!]) {
      const { address } = world.cloud.endpoints().accelerators.find((accelerator) => accelerator.cell === cell)!;
      expect(await world.lands({ host: address, port: ports.ssh! })).toBe(homeRegion);
      expect(await world.lands({ host: address, port: ports.ssh! + 1 })).toBe("nothing");
    }
  });

  it("show each tenant's progress and the trace of its latest change", async () => {
    expect(await conditions("acme")).toEqual([
      "Admitted True Admitted",
      "Published True Committed",
      "Served True ServedByAll",
    ]);
    const { traceTenant } = await import("../../cli/view.ts");
    const steps = (await traceTenant("acme"))!;
    expect(steps.map(({ step }) => step.replace(/ .*/, ""))).toEqual([
      "stream",
      "admitted",
      "committed",
      "served",
      "served",
      "served",
      "settled",
    ]);
    expect(steps.every(({ sinceLast }) => sinceLast >= 0)).toBe(true);
    expect(await world.view("acme")).toMatchObject({
      endpoint: expect.stringMatching(/^c\d\.landfall/),
      regionsCounted: { length: 3 },
    });
  });
});

describe("a refused change", () => {
  it("has a trace of its own, and no route; a tenant that was never admitted is not published when it is removed", async () => {
    const { traceTenant } = await import("../../cli/view.ts");
    const traced = async (tenantId: string) =>
      (await traceTenant(tenantId))!.map(({ step }) => step.replace(/ .*/, ""));
    await world.put(world.record("fickle"));
    await world.settled("fickle", "Admitted");
    await world.put(world.record("fickle", { homeRegion: "mars-north-1" }));
    await world.settled("fickle", "Rejected", 2);
    // The row is written first, and the batch's progress right after it.
    await eventually(
      () => traced("fickle"),
      (steps) => steps.length >= 2,
    );
    expect(await traced("fickle")).toEqual(["stream", "rejected"]);
    await world.put(world.record("fickle", { suspended: true }));
    await world.settled("fickle", "Suspended", 3);
    expect((await traced("fickle")).at(-1)).toBe("settled");
    await world.remove("fickle");
    await world.put({ tenantId: "never" });
    await world.settled("never", "Rejected");
    await world.remove("never");
    await eventually(
      () => world.view("never"),
      (view) => view?.state === "Removed",
    );
    expect(await conditions("never")).toEqual(
      ["False Removed", "False NeverAdmitted", "False NeverAdmitted"].map(
        (words, index) => `${["Admitted", "Published", "Served"][index]} ${words}`,
      ),
    );
  });
});

describe("a full cell", () => {
  it("keeps a tenant pending, and admits it automatically when the audit frees slots", async () => {
    const before = (await parameter("fleet")) as Fleet;
    await change({ cells: before.cells.map((cell) => ({ ...cell, portCount: 2 })) });
    const raw = (tenantId: string) => world.record(tenantId, { hostnames: [], protocols: { ssh: 3023 } });
    for (const tenantId of ["early", "gone"]) {
      await world.put(raw(tenantId));
      await world.settled(tenantId, "Admitted");
    }
    await world.put(raw("late"));
    await eventually(
      () => world.view("late"),
      (view) => view?.state === "Pending",
    );
    expect((await conditions("late"))[0]).toBe("Admitted False CellFull");

    const port = (await world.view("gone"))!.ports.ssh;
    await world.remove("gone");
    await world.settled("gone", "Removed");
    await auditTwice();
    const late = await world.settled("late", "Admitted");
    expect(late!.ports.ssh).toBe(port);
    await change({ cells: before.cells });
  });
});

describe("a name that a tenant has", () => {
  const base = `corp.${domain}`;
  const put = (tenantId: string, names: object) => world.put(world.record(tenantId, { hostnames: [], ...names }));

  it("is its owner's with all that lies below it, and the tenants of its account share that", async () => {
    await put("corp", { hostnames: [base], wildcards: [`*.${base}`], account: "corp" });
    expect(await world.settled("corp", "Admitted")).toMatchObject({ hostnames: [base], wildcards: [`*.${base}`] });
    await put("thief", { hostnames: [`a.b.${base}`] });
    const { reasons } = (await world.settled("thief", "Rejected"))!;
    expect(reasons).toEqual([`hostnames: all names below ${base} belong to the tenant of ${base}`]);
    const { viewName } = await import("../../cli/names.ts");
    expect(await viewName(`X.${base}.`)).toMatchObject({
      name: `x.${base}`,
      holder: { claim: base, tenantId: "corp", owner: "account:corp" },
      around: [{ claim: base }, { claim: `*.${base}` }],
    });
    expect(await viewName(`*.${domain}`)).toMatchObject({ holder: undefined, fault: "belongs to the platform" });
    expect(await viewName(`free.${domain}`)).toMatchObject({ holder: undefined, fault: undefined, around: [] });
    await expect(viewName("no name")).rejects.toThrow("no name is not a DNS name");
    await put("corp-dev", { hostnames: [`dev.${base}`], wildcards: [`*.dev.${base}`], account: "corp" });
    expect(await world.settled("corp-dev", "Admitted")).toMatchObject({ served: "all" });
  });

  it("stays with its account while another of its tenants has something below it", async () => {
    await put("corp", { hostnames: [base], wildcards: [`*.${base}`] });
    const { reasons, hostnames } = (await world.settled("corp", "Rejected"))!;
    expect(reasons).toContain(`hostnames: ${base} is above a name of another tenant`);
    expect(hostnames).toEqual([base]);
    await world.remove("corp-dev");
    await world.settled("corp-dev", "Removed");
    await auditTwice();
    await auditTwice();
    expect(await world.settled("corp", "Admitted")).toMatchObject({ served: "all", generation: 2 });
  });
});

describe("a domain below which as many tenants have names as its item holds", () => {
  it("takes no other until one of them goes, and says so", async () => {
    const { keys } = await import("../../aws/ledger/keys.ts");
    const { pointItem } = await import("../../aws/ledger/points.ts");
    const point = "crowded.example.net";
    const holds = Array.from({ length: tenantLimits.tenantsBelowMax }, (_, index) => {
      const tenantId = `${index}-`.padEnd(63, "x");
      return { tenantId, owner: `account:${tenantId}`, cell: "c1", since: 1_800_000_000_000 };
    });
    const below = new Map(holds.map((hold) => [hold.tenantId, hold]));
    const Item = pointItem({ point, stamp: "crowded", below });
    await world.tables.send(new PutCommand({ TableName: TableName(), Item }));
    await world.put(world.record("last", { hostnames: [`last.${point}`] }));
    const { reasons } = (await world.settled("last", "Rejected"))!;
    expect(reasons).toEqual([expect.stringContaining(`1000 tenants have names below ${point} already`)]);
    await world.tables.send(new DeleteCommand({ TableName: TableName(), Key: keys.name(point) }));
    await auditTwice();
    expect(await world.settled("last", "Admitted")).toMatchObject({ served: "all" });
  });
});

describe("a fleet that requires proofs", () => {
  it("lets a custom name wait until a TXT record shows whose it is", async () => {
    const before = await change({ requireProof: true });
    const name = "proof.example.org";
    const { dns, services } = world.cloud.context;
    const prove = async () => {
      const { payload } = (await services.lambda.invoke("landfall-local-prove-names", "{}")) as { payload: string };
      return JSON.parse(payload) as object;
    };
    try {
      await world.put(world.record("prover", { hostnames: [name] }));
      const { reasons, conditions: said } = (await world.settled("prover", "Pending"))!;
      const token = /"(landfall=[0-9a-f]+)" at _landfall\.proof\.example\.org/.exec(reasons.join())?.[1];
      expect(said).toContainEqual(expect.objectContaining({ type: "Admitted", reason: "Unproven" }));
      dns.set({ name: `_landfall.${name}`, type: "TXT", values: ["v=spf1", "landfall=another"] });
      expect(await prove()).toMatchObject({ proven: 0 });
      expect(await prove()).toEqual({ due: 0, proven: 0 }); // it is looked for again in a minute
      dns.set({ name: `_landfall.${name}`, type: "TXT", values: ["v=spf1", token!] });
      await world.put(world.record("prover", { hostnames: [name], suspended: true }));
      await world.settled("prover", "Pending", 2);
      await prove();
      expect(await world.settled("prover", "Suspended", 2)).toMatchObject({ hostnames: [name] });
      const { proofId, readProofs } = await import("../../aws/ledger/proofs.ts");
      const owner = "tenant:prover";
      const twice = [
        { owner, name },
        { owner, name: "other.example.org" },
        { owner, name },
      ]; // of two tenants of an account
      expect(await readProofs(twice, Date.now())).toEqual(new Set([proofId(owner, name)]));
      expect(await readProofs(twice, Date.now() + 8 * 24 * 3600_000)).toEqual(new Set());
      expect(await prove()).toEqual({ due: 0, proven: 0 });
    } finally {
      await setParameter("fleet", before);
      await sleep(settingsMs);
    }
  });
});

describe("a name that an operator grants", () => {
  it("is kept for its tenant, until it is released, and every decision stays on record", async () => {
    const { grantName, releaseName, viewName } = await import("../../cli/names.ts");
    const name = `granted.${domain}`;
    const other = (names: object) => world.put(world.record("impatient", { hostnames: [], ...names }));
    await grantName(name, "chosen", "a contract");
    await other({ hostnames: [`a.${name}`] });
    const { reasons } = (await world.settled("impatient", "Rejected"))!;
    expect(reasons).toEqual([
      `hostnames: what lies below ${name} is kept for another tenant by the platform's operators`,
    ]);
    await world.put(world.record("chosen", { hostnames: [name] }));
    expect(await world.settled("chosen", "Admitted")).toMatchObject({ hostnames: [name], served: "all" });
    expect(await viewName(name)).toMatchObject({
      holder: { tenantId: "chosen" },
      grants: [{ name, tenantId: "chosen", why: "a contract", by: expect.stringMatching(/^arn:aws:/) }],
    });
    await expect(grantName(name, "impatient", "a mistake")).rejects.toThrow(`chosen has ${name}`);
    await releaseName(name, "the contract ended");
    await expect(releaseName(name, "again")).rejects.toThrow("chosen has it in its record");
    const { grants, decisions } = await viewName(name);
    expect(grants).toEqual([]);
    expect(decisions.map(({ action, why, before }) => [action, why, before])).toEqual([
      ["grant", "a contract", []],
      ["release", "the contract ended", [`${name} chosen`, "granted chosen"]],
    ]);
    await world.remove("chosen");
    await world.settled("chosen", "Removed");
    await auditTwice();
    await auditTwice();
    expect(await world.settled("impatient", "Admitted")).toMatchObject({ served: "all" });
  });
});

describe("names that were given up", () => {
  it("go to the tenant that was refused for them, once no edge serves them any more", async () => {
    const name = `fresh.${domain}`;
    await world.put(world.record("early", { hostnames: [name] }));
    await world.settled("early", "Admitted", 2);
    await world.put(world.record("fresh"));
    await world.settled("fresh", "Rejected");
    await world.put(world.record("early", { hostnames: [`early.${domain}`] }));
    await world.settled("early", "Admitted", 3);
    await auditTwice();
    await auditTwice();
    expect(await world.settled("fresh", "Admitted")).toMatchObject({ hostnames: [name], served: "all" });
  });
});

describe("a change of the fleet", () => {
  it("is applied to records that did not change, and takes no route from an edge", async () => {
    const name = `globex.${domain}`;
    const { reservedNames } = await change({});
    await change({ reservedNames: [...reservedNames, name] });
    await auditTwice();
    const refused = await world.settled("globex", "Rejected");
    expect(refused).toMatchObject({ generation: 1, observedGeneration: 1, reasons: [expect.stringContaining(name)] });
    expect(world.routeFiles(`n/${name}`).filter((file) => file?.includes("globex"))).toHaveLength(3);
    await change({ reservedNames });
    await auditTwice();
    expect(await world.settled("globex", "Admitted")).toMatchObject({ generation: 1, served: "all" });
  });
});

describe("a route that edges refuse", () => {
  it("is quarantined with the edge's reason, delays no other tenant, and is served once corrected", async () => {
    const { backendRanges } = await change({});
    const pod = world.pods[homeRegion]!;
    const elsewhere = pod.replace(/\.\d+\.\d+$/, ".250.1"); // in the fleet's ranges from now on, and not in the structure's
    await change({ backendRanges: [...backendRanges, elsewhere.replace(/\d+$/, "0/24")] });
    await world.put(world.record("odd", { backends: { [homeRegion]: [elsewhere] } }));
    await world.put(world.record("while-bad"));
    expect(await world.settled("while-bad", "Admitted")).toMatchObject({ served: "all" });
    const odd = await eventually(
      () => world.view("odd"),
      (view) => view?.conditions[2]?.reason === "Quarantined",
    );
    expect(odd!.conditions[2]!.message).toMatch(/outside|range/);
    await world.put(world.record("odd"));
    await eventually(
      () => conditions("odd"),
      (list) => list[2] === "Served True ServedByAll",
      20_000,
    );
    await change({ backendRanges });
  });
});

describe("a region that can't be written", () => {
  it("delays no other region, appears in the status, and is announced as served by all once reconcile has written it", async () => {
    const { buckets } = (await parameter("fleet")) as Fleet;
    await change({ buckets: { ...buckets, "eu-west-3": `${buckets["eu-west-3"]}-lost` } });
    await world.put(world.record("acme", { protocols: { tls: 3080, ssh: 3023 }, multiRegion: true }));
    const acme = await eventually(
      () => world.view("acme"),
      (view) => view?.observedGeneration === 2,
      60_000,
    );
    expect(acme).toMatchObject({
      served: "partly",
      regions: ["ap-northeast-1", "us-west-2"],
      regionsCounted: { length: 3 },
    });
    const { readTenant } = await import("../../aws/ledger/status.ts");
    const announced = async () => (await readTenant("acme")).announced;
    await eventually(announced, (event) => event?.generation === 2 && event.served === "partly");
    const { cell } = acme!;
    expect((await cellNamed(cell!)).behind).toMatchObject([{ region: "eu-west-3" }]);
    await change({ buckets });
    await run("reconcile");
    expect((await cellNamed(cell!)).behind).toEqual([]);
    await eventually(
      () => conditions("acme"),
      (list) => list[2] === "Served True ServedByAll",
      20_000,
    );
    await eventually(announced, (event) => event?.generation === 2 && event.served === "all");
  });
});

describe("a setting with a typo", () => {
  it.each([
    ["freeze", "oops"],
    ["fleet", "{"],
    ["structures", "[]"],
  ])("in %s stops nothing, is in the status and on the bus, and the last good value is used", async (name, typo) => {
    const { readAnnouncedVersion } = await import("../../aws/ledger/settings.ts");
    const Name = `/landfall/local/${name}`;
    const put = async (Value: string) =>
      (await ssm.send(new PutParameterCommand({ Name, Value, Overwrite: true }))).Version!;
    const { Parameter: good } = await ssm.send(new GetParameterCommand({ Name }));
    await put(`${typo}1`);
    const version = await put(typo);
    await sleep(settingsMs);
    const next = (await world.view("acme"))!.generation + 1;
    await world.put(world.record("acme", { protocols: { tls: 3080, ssh: 3000 + next } }));
    await world.settled("acme", "Admitted", next);
    expect((await cellNamed("c1")).invalidSettings).toMatchObject([
      { name: Name, version, usedVersion: good!.Version, reason: expect.any(String) },
    ]);
    await run("reconcile");
    expect(await readAnnouncedVersion(Name)).toBe(version);
    await put(good!.Value!);
    await eventually(
      () => cellNamed("c1"),
      ({ invalidSettings }) => invalidSettings.length === 0,
    );
  });
});

describe("a change that the gate refuses", () => {
  it("waits alone and is named in the status, and its tenant's next change is served", async () => {
    const { keys } = await import("../../aws/ledger/keys.ts");
    const { readTenantRow } = await import("../../aws/ledger/admission.ts");
    const { bucketOf } = await import("../../core/routes/buckets.ts");
    const [c1, c2] = [await cellNamed("c1"), await cellNamed("c2")];
    const cell = c2.room.raw > c1.room.raw ? "c2" : "c1"; // where the next tenant goes
    const rows = await Promise.all(["acme", "globex"].map((tenantId) => readTenantRow(tenantId)));
    const { tenantId, slots, generation } = rows.find((row) => row?.cell === cell)!;
    const slot = slots.tls!;
    const Key = keys.route(cell, bucketOf(tenantId), slot);
    const { Item } = await world.tables.send(new GetCommand({ TableName: TableName(), Key }));
    const broken = { ...Item, route: { ...Item!.route, hostnames: [`stolen.${domain}`] } };
    await world.tables.send(new PutCommand({ TableName: TableName(), Item: broken }));
    await roll("broken", [tenantId]);
    const reason = `slot ${slot} of ${tenantId} would change without a new generation`;
    const refused = await eventually(
      () => world.view(tenantId),
      (view) => view?.served === "none",
    );
    expect(refused!.missing).toEqual([`not published: ${reason}`]);

    await world.put(world.record("beside", { protocols: { tls: 3080, ssh: 3023 } }));
    expect(await world.settled("beside", "Admitted")).toMatchObject({ cell, served: "all" });
    expect((await cellNamed(cell)).trouble).toContain(`${tenantId}: ${reason}`);

    await world.put(world.record(tenantId, { protocols: { tls: 3080, ssh: 3323 } }));
    expect(await world.settled(tenantId, "Admitted", generation + 1)).toMatchObject({ served: "all" });
    await eventually(
      () => cellNamed(cell),
      ({ trouble }) => trouble === undefined,
    );
  });
});

describe("a halted cell", () => {
  it("stops its own changes and new names, while the other cell's tenants change and are served", async () => {
    const { halt, resume } = await import("../../aws/ledger/cells.ts");
    const { cell, generation } = (await world.view("acme"))!;
    const other = cell === "c1" ? "c2" : "c1";
    await halt(other, "a test", Date.now());
    await world.put(world.record("newcomer", { protocols: { tls: 3080, ssh: 3023 } }));
    await world.put(world.record("acme", { protocols: { tls: 3080, ssh: 3123 } }));
    await world.settled("acme", "Admitted", generation + 1);
    await sleep(2000);
    expect(await world.view("newcomer")).toMatchObject({ state: "New" });
    await resume(other);
    await world.settled("newcomer", "Admitted");
    await world.remove("newcomer");
    await world.settled("newcomer", "Removed");
  });
});

describe("an object of a bucket", () => {
  it.each([
    ["overwritten", (Bucket: string, Key: string) => new PutObjectCommand({ Bucket, Key, Body: "junk" })],
    ["deleted", (Bucket: string, Key: string) => new DeleteObjectCommand({ Bucket, Key })],
  ])("is restored by the audit when it was %s in every region", async (_, command) => {
    const { readCommit } = await import("../../aws/ledger/commits.ts");
    const { cell } = (await world.view("acme"))!;
    const { bucketOf } = await import("../../core/routes/buckets.ts");
    const key = objectKey((await readCommit(cell!))!.routes[bucketOf("acme")]!);
    const buckets = Object.entries(world.cloud.endpoints().buckets);
    const clients = new Map(buckets.map(([region]) => [region, new S3Client(world.client(region))]));
    for (const [region, Bucket] of buckets) await clients.get(region)!.send(command(Bucket, key) as PutObjectCommand);
    await run("audit");
    for (const [region, Bucket] of buckets) {
      const { Body } = await clients.get(region)!.send(new GetObjectCommand({ Bucket, Key: key }));
      expect(objectKey(sha256(await Body!.transformToString()))).toBe(key);
      clients.get(region)!.destroy();
    }
  });
});

describe("a new structure", () => {
  /** Uploads a structure to every region, and requests it for cell c1. */
  async function ask(edit: (structure: Structure) => Structure): Promise<string> {
    const structures = (await parameter("structures")) as Record<string, string>;
    const { buckets } = world.cloud.endpoints();
    const home = new S3Client(world.client());
    const { Body } = await home.send(
      new GetObjectCommand({ Bucket: buckets[homeRegion]!, Key: objectKey(structures.c2!) }),
    );
    home.destroy();
    const text = `${JSON.stringify(edit(JSON.parse(await Body!.transformToString()) as Structure))}\n`;
    for (const [region, Bucket] of Object.entries(buckets)) {
      const client = new S3Client(world.client(region));
      await client.send(new PutObjectCommand({ Bucket, Key: objectKey(sha256(text)), Body: text }));
      client.destroy();
    }
    await setParameter("structures", { ...structures, c1: sha256(text) });
    await sleep(settingsMs);
    return sha256(text);
  }
  const edgeStructures = async () => {
    const { readEdges } = await import("../../aws/ledger/edges.ts");
    return (await readEdges("c1")).map(({ structure }) => structure);
  };
  const stage = async () => (await cellNamed("c1")).structure?.stage;
  /** Reconciles until the stage is one of these; edges report what they apply meanwhile. */
  async function reconcileUntil(...stages: string[]): Promise<(string | undefined)[]> {
    const seen: (string | undefined)[] = [];
    for (let round = 0; round < 20 && !stages.includes(seen.at(-1) ?? ""); round++) {
      await run("reconcile");
      await sleep(700);
      seen.push(await stage());
    }
    return [...new Set(seen)];
  }

  it("goes from one edge to its region to all, without a lost session", async () => {
    const hash = await ask((structure) => ({ ...structure, nginxConf: `# newer\n${structure.nginxConf}` }));
    expect(await reconcileUntil("done")).toEqual(["canary", "region", "all", "done"]);
    expect(new Set(await edgeStructures())).toEqual(new Set([hash]));
  });

  it("is rolled back when an edge refuses it, while route changes continue", async () => {
    const good = await edgeStructures();
    await ask((structure) => ({ ...structure, nginxConf: `nonsense on;\n${structure.nginxConf}` }));
    await run("reconcile");
    await run("reconcile");
    await world.put(world.record("while-bad", { protocols: { tls: 3080, ssh: 3023 } }));
    expect(await world.settled("while-bad", "Admitted", 2)).toMatchObject({ served: "all" });
    expect(await reconcileUntil("returned")).toContain("returned");
    expect((await cellNamed("c1")).structure!.reason).toMatch(/refuses the structure.*nonsense/);
    await run("reconcile");
    expect(await edgeStructures()).toEqual(good);
    const { retryStructure } = await import("../../cli/structure.ts");
    await retryStructure("c1");
    await run("reconcile");
    expect((await cellNamed("c1")).structure).toMatchObject({ stage: "canary" });
    expect(await reconcileUntil("returned")).toContain("returned");
    await expect(retryStructure("c9")).rejects.toThrow("no cell c9: the fleet has c1, c2");
    await run("reconcile");
    await eventually(
      () => world.edges(),
      (edges) => edges.every(({ nack, serving }) => nack === undefined && serving),
      20_000,
    );
  });
});

describe("fifty executions at once", () => {
  const crowd = Array.from({ length: 30 }, (_, index) => `crowd-${index}`);
  const shared = (index: number) => `shared-${index % 10}.${domain}`;

  it("give every slot and every name to one tenant, in agreement with its row", async () => {
    const put = (round: number) =>
      crowd.map((tenantId, index) =>
        world.put(
          world.record(tenantId, {
            hostnames: [shared(index)],
            protocols: { tls: 3080, ssh: 3023, ...(round % 2 === 0 ? {} : { postgres: 5432 }) },
          }),
        ),
      );
    await Promise.all(put(0));
    const starts = Array.from({ length: 50 }, (_, index) => roll(`crowd-${index}`, crowd.slice(index % 7)));
    await Promise.all(put(1));
    for (const { executionArn } of await Promise.all(starts)) {
      const {
        status,
        error = "",
        cause = "",
      } = await eventually(
        () => machines.send(new DescribeExecutionCommand({ executionArn })),
        (execution) => execution.status !== "RUNNING",
        100_000,
      );
      expect(`${status} ${error} ${cause}`.trim()).toBe("SUCCEEDED");
    }
    const views = await eventually(
      () => Promise.all(crowd.map(async (tenantId) => (await world.view(tenantId))!)),
      (all) => all.every(({ state, served }) => state === "Rejected" || (state === "Admitted" && served === "all")),
      60_000,
    );
    const admitted = views.filter(({ state }) => state === "Admitted");
    expect(new Set(admitted.flatMap(({ hostnames }) => hostnames)).size).toBe(10);
    expect(admitted).toHaveLength(10);
    const ports = admitted.flatMap(({ cell, ports: { tls: _, ...raw } }) =>
      Object.values(raw).map((port) => `${cell} ${port}`),
    );
    expect(new Set(ports).size).toBe(20);
    const { readTenant } = await import("../../aws/ledger/status.ts");
    const owned = (await items()).filter(
      ({ sk, tenantId, tombstone }) => sk === "SLOT" && tombstone === undefined && crowd.includes(String(tenantId)),
    );
    for (const { pk, tenantId, protocol } of owned) {
      const { row } = await readTenant(String(tenantId));
      expect(`SLOT#${row!.cell}#${String(row!.slots[String(protocol)]).padStart(6, "0")}`).toBe(pk);
    }
    expect(owned).toHaveLength(30);
  });
});

describe("a ledger restored from a backup", () => {
  it("stops the publisher until it is rebuilt, and then loses nothing", async () => {
    const backup = await items();
    const after = await world.view("acme");
    await world.put(
      world.record("acme", {
        protocols: { tls: 3080, ssh: 3023 },
        hostnames: [`acme.${domain}`, `new.acme.${domain}`],
      }),
    );
    await world.settled("acme", "Admitted", after!.generation + 1);
    await world.put(world.record("gone", { hostnames: [`gone.${domain}`] }));
    const { cell, generation } = (await world.settled("gone", "Admitted"))!;
    for (const { pk, sk } of await items())
      await world.tables.send(new DeleteCommand({ TableName: TableName(), Key: { pk, sk } }));
    for (const Item of backup) await world.tables.send(new PutCommand({ TableName: TableName(), Item }));

    await run("reconcile");
    expect((await cellNamed(cell!)).halted).toMatch(/landfall rebuild/);
    const { rebuild } = await import("../../cli/rebuild.ts");
    await rebuild(true);
    await world.remove("early");
    await auditTwice();
    await world.settled("early", "Removed");
    const gone = await eventually(
      () => world.view("gone"),
      (view) => view!.generation > generation && view!.served === "all",
      30_000,
    );
    expect(gone).toMatchObject({ state: "Admitted", hostnames: [`gone.${domain}`] });
    expect((await world.view("acme"))!.hostnames).toContain(`new.acme.${domain}`);
    expect((await cellNamed(cell!)).halted).toBeUndefined();
  });
});
