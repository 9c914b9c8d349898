/** Law 11: a report counts for the edge that wrote it, and for nothing else, whatever it says. */
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { EC2Client, TerminateInstancesCommand } from "@aws-sdk/client-ec2";
import { EventBridgeClient, PutEventsCommand } from "@aws-sdk/client-eventbridge";
import { DeleteCommand, DynamoDBDocumentClient, GetCommand, PutCommand, UpdateCommand } from "@aws-sdk/lib-dynamodb";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { keys } from "../../aws/ledger/keys.ts";
import { summaryItemOf } from "../../core/edges/edge.ts";
import type { LocalEdge } from "../../local/edges/edge.ts";
import { detailTypes, sources } from "../../schemas/events.ts";
import { edgeLimits } from "../../schemas/limits.ts";
import { type EdgeReport, reportItem } from "../../schemas/report.ts";
import { eventually } from "../local/harness.ts";
import { World } from "./world.ts";

let world: World;
const clients: { destroy(): void }[] = [];

beforeAll(async () => {
  world = await World.start({ edgesPerGroup: 2, names: ["acme"] });
  await world.put(world.record("acme"));
  await world.settled("acme", "Admitted");
});
afterAll(async () => {
  for (const client of clients) client.destroy();
  await world?.stop();
});

type Config = LocalEdge["config"];
const edgeIn = (region: string) =>
  world.cloud.context.services.compute.edges.find(({ config }) => config.region === region)!;
const liar = () => edgeIn("eu-west-3").config;
const victim = () => edgeIn("us-west-2").config;

/** Clients with an edge's own credentials, in the home region. */
function as({ environment }: Pick<Config, "environment">) {
  const credentials = {
    accessKeyId: environment.AWS_ACCESS_KEY_ID!,
    secretAccessKey: environment.AWS_SECRET_ACCESS_KEY!,
  };
  const client = { ...world.client(), credentials };
  const [dynamo, events] = [new DynamoDBClient(client), new EventBridgeClient(client)];
  clients.push(dynamo, events);
  return { documents: DynamoDBDocumentClient.from(dynamo), events };
}

const idOf = ({ settings, id }: Config) => `${settings.reports.roleId}:${id}`;
const report = (changes: Record<string, unknown> = {}): EdgeReport => ({
  region: "eu-west-3",
  at: Date.now(),
  changedAt: Date.now(),
  appliedGeneration: 1,
  serving: true,
  rejectedRoutes: [],
  ...changes,
});
const put = (id: string, said: EdgeReport) => {
  const { beat, report } = reportItem("", "", said);
  return new PutCommand({ TableName: tables().reports, Item: { id, beat: beat.BOOL, report: report.S } });
};
const tables = () => world.cloud.endpoints().tables;
const nameOf = (call: Promise<unknown>) =>
  call.then(
    () => "none",
    (error: Error) => error.name,
  );

interface Known {
  address: string;
  region: string;
  appliedGeneration: number;
  serving: boolean;
  nack?: unknown;
  announced?: boolean;
  terminated?: true;
}
/** What the ledger has of an edge. */
async function known(edgeId: string): Promise<Known | undefined> {
  const Key = keys.edges("c1", summaryItemOf(edgeId));
  const { Item } = await world.tables.send(new GetCommand({ TableName: tables().ledger, Key, ConsistentRead: true }));
  return (Item?.[edgeId] as { summary: Known } | undefined)?.summary;
}
const ignored = async (reason: string) =>
  (await world.cells())[0]!.ignoredReports.find((one) => one.reason === reason)?.reports ?? 0;
const liveGeneration = async () => (await world.cells())[0]!.generation;
/** The report of another program with the edge's credentials: the agent does not report meanwhile. */
async function silenced<T>(edge: LocalEdge, run: () => Promise<T>): Promise<T> {
  process.kill(edge.agentPid!, "SIGSTOP");
  try {
    return await run();
  } finally {
    process.kill(edge.agentPid!, "SIGCONT");
  }
}

describe("a report", () => {
  it("can't be written, read or removed under the key of another edge", async () => {
    const { documents } = as(liar());
    const theirs = idOf(victim());
    const Key = { id: theirs };
    const attempts = [
      put(theirs, report()),
      put(`${liar().settings.reports.roleId}:${victim().id}`, report()),
      new UpdateCommand({
        TableName: tables().reports,
        Key,
        UpdateExpression: "SET beat = :b",
        ExpressionAttributeValues: { ":b": true },
      }),
      new DeleteCommand({ TableName: tables().reports, Key }),
      new GetCommand({ TableName: tables().reports, Key }),
    ];
    for (const attempt of attempts)
      expect(await nameOf(documents.send(attempt as PutCommand))).toBe("AccessDeniedException");
    expect(await nameOf(documents.send(put(idOf(liar()), report())))).toBe("none");
  });

  it("counts for its writer, whatever edge, cell, region and address it names", async () => {
    const before = await known(victim().id);
    const { id, cell, address, region } = victim();
    await silenced(edgeIn("eu-west-3"), async () => {
      const lie = { edgeId: id, cell, address, region, writer: idOf(victim()), appliedGeneration: 0, serving: false };
      await as(liar()).documents.send(put(idOf(liar()), report(lie)));
      await eventually(
        () => known(liar().id),
        (edge) => edge?.serving === false,
      );
      expect(await known(liar().id)).toMatchObject({ address: liar().address, region: "eu-west-3" });
    });
    expect(await known(id)).toMatchObject({ address: before!.address, region: before!.region, serving: true });
    await eventually(
      () => known(liar().id),
      (edge) => edge?.serving === true,
      15_000,
    );
  });

  it("acks no generation that was never committed", async () => {
    const count = await ignored("generation above the live commit");
    await silenced(edgeIn("eu-west-3"), async () => {
      await as(liar()).documents.send(put(idOf(liar()), report({ appliedGeneration: 1_000_000 })));
      await eventually(
        () => ignored("generation above the live commit"),
        (now) => now === count + 1,
      );
    });
    expect((await known(liar().id))!.appliedGeneration).toBeLessThanOrEqual(await liveGeneration());
  });

  it("nacks and refuses for its writer alone, and only routes of tenants that exist", async () => {
    const rejectedRoutes = ["acme", "nobody"].map((tenantId) => ({ tenantId, slot: 20_000, reason: "a lie" }));
    const nack = { generation: 1, reason: "a lie" };
    await silenced(edgeIn("eu-west-3"), async () => {
      await as(liar()).documents.send(put(idOf(liar()), report({ rejectedRoutes, nack })));
      await eventually(
        () => known(liar().id),
        (edge) => edge?.nack !== undefined,
      );
      const refusals = (await world.view("acme"))!.conditions.find(({ type }) => type === "Served")!;
      expect(refusals).toMatchObject({ reason: "Quarantined", message: `${liar().id} (eu-west-3): a lie` });
    });
    expect(await known(victim().id)).not.toHaveProperty("nack");
    const Key = { pk: "TENANT#nobody", sk: `REFUSAL#${liar().id}` };
    expect((await world.tables.send(new GetCommand({ TableName: tables().ledger, Key }))).Item).toBeUndefined();
    await eventually(
      () => world.view("acme"),
      (view) => view?.conditions.find(({ type }) => type === "Served")?.reason === "ServedByAll",
      20_000,
    );
  });

  it("of an instance that EC2 does not know, or with other fields, is counted and ignored", async () => {
    const { iam } = world.cloud.context.services;
    const roleArn = iam.callerOf(liar().environment.AWS_ACCESS_KEY_ID!).roleArn!;
    iam.addKey("STRANGER", iam.assume(roleArn, "ec2.amazonaws.com", "i-stranger"));
    const { documents } = as({ environment: { AWS_ACCESS_KEY_ID: "STRANGER", AWS_SECRET_ACCESS_KEY: "s" } });
    const id = `${liar().settings.reports.roleId}:i-stranger`;
    await documents.send(put(id, report()));
    await eventually(
      () => ignored("unknown instance"),
      (count) => count === 1,
    );
    await documents.send(put(id, report({ serving: "yes" })));
    await eventually(
      () => ignored("malformed report"),
      (count) => count === 1,
    );
    await documents.send(put(id, report({ region: "mars-north-1" })));
    await eventually(
      () => ignored("unknown region"),
      (count) => count === 1,
    );
    expect(await known("i-stranger")).toBeUndefined();
  });
});

describe("an edge", () => {
  it("puts no event on the home bus, as nobody does who is not named in the bus's policy", async () => {
    const { iam, lambda } = world.cloud.context.services;
    const EventBusName = world.cloud.endpoints().bus;
    const say = (events: EventBridgeClient, Source: string, DetailType: string) =>
      nameOf(events.send(new PutEventsCommand({ Entries: [{ EventBusName, Source, DetailType, Detail: "{}" }] })));
    expect(await say(as(liar()).events, sources.health, detailTypes.edgeHealth)).toBe("AccessDeniedException");
    const settle = lambda.get("landfall-local-settle-rollout").config.environment;
    const controller = as({ environment: settle as Record<string, string> }).events;
    expect(await say(controller, sources.control, "Test")).toBe("none");
    expect(await say(controller, sources.health, detailTypes.edgeHealth)).toBe("AccessDeniedException");
    const role = "arn:aws:iam::123456789012:role/landfall-health";
    const allow = { Effect: "Allow", Action: "events:PutEvents", Resource: "*" };
    iam.addRole(
      role,
      JSON.stringify({
        Statement: [{ Effect: "Allow", Action: "sts:AssumeRole", Principal: { Service: "ec2.amazonaws.com" } }],
      }),
    );
    iam.addPolicy(role, JSON.stringify({ Statement: [allow] }));
    iam.addKey("MONITOR", iam.assume(role, "ec2.amazonaws.com", "monitor"));
    const monitor = as({ environment: { AWS_ACCESS_KEY_ID: "MONITOR", AWS_SECRET_ACCESS_KEY: "s" } }).events;
    expect(await say(monitor, sources.health, "Test")).toBe("none");
    expect(await say(monitor, sources.control, detailTypes.edgeReadiness)).toBe("AccessDeniedException");
  });

  it("whose instance is terminated is forgotten though EC2's event was lost, and its late reports bring nothing back", async () => {
    const { config } = edgeIn("ap-northeast-1");
    const { events } = world.cloud.context.services;
    events.rule(config.region, undefined, "landfall-local-instance-events").enabled = false;
    const { documents } = as(config);
    const ec2 = new EC2Client(world.client(config.region));
    clients.push(ec2);
    await ec2.send(new TerminateInstancesCommand({ InstanceIds: [config.id] }));
    await silentFor(config.id, 120_000);
    const late = () => documents.send(put(idOf(config), report({ region: config.region })));
    reconcile();
    // It is marked, then detached, then forgotten; or detached before, because AWS refused a write that named it.
    await eventually(
      () => known(config.id),
      (edge) => edge === undefined || edge.terminated === true,
    );
    await late();
    await eventually(
      () => ignored("terminated instance"),
      (count) => count === 1,
    );
    await eventually(detached(config.id), (gone) => gone);
    reconcile();
    await eventually(
      () => known(config.id),
      (edge) => edge === undefined,
    );
    await late();
    await eventually(
      () => ignored("terminated instance"),
      (count) => count === 2,
    );
    expect(await known(config.id)).toBeUndefined();
    const Key = { pk: `EDGE#${config.id}`, sk: "EDGE" };
    expect((await world.tables.send(new GetCommand({ TableName: tables().ledger, Key }))).Item).toBeUndefined();
  });

  it("that runs and is silent for long is detached, terminated and forgotten, if the others report", async () => {
    const edge = edgeIn("eu-west-3");
    const { id } = edge.config;
    process.kill(edge.agentPid!, "SIGSTOP");
    await silentFor(id, edgeLimits.giveUpMs + 60_000);
    reconcile();
    await eventually(detached(id), (gone) => gone);
    expect(edge.state).toBe("running");
    reconcile();
    await eventually(
      () => edge.state,
      (state) => state === "terminated",
    );
    reconcile();
    await eventually(
      () => known(id),
      (found) => found === undefined,
    );
  });
});

/** Waits until the edge's last report is recorded, and makes it look as old as that. */
async function silentFor(edgeId: string, ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 3000));
  const update = new UpdateCommand({
    TableName: tables().ledger,
    Key: keys.edges("c1", summaryItemOf(edgeId)),
    UpdateExpression: "SET #edge.summary.reportedAt = :then",
    ExpressionAttributeNames: { "#edge": edgeId },
    ExpressionAttributeValues: { ":then": Date.now() - ms },
  });
  await world.tables.send(update);
}

function reconcile(): void {
  const { states } = world.cloud.context.services;
  const arn = "arn:aws:states:us-west-2:123456789012:stateMachine:landfall-local-reconcile";
  states.startExecution(arn, crypto.randomUUID(), JSON.stringify({ cells: ["c1"] }));
}

/** Whether the accelerator no longer has the edge. */
const detached = (edgeId: string) => async () =>
  (await world.edges()).find((edge) => edge.edgeId === edgeId)?.weight === undefined;
