import { rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { EC2Client, StartInstancesCommand, StopInstancesCommand, TerminateInstancesCommand } from "@aws-sdk/client-ec2";
import { EventBridgeClient, PutEventsCommand } from "@aws-sdk/client-eventbridge";
import {
  DescribeAcceleratorCommand,
  GlobalAcceleratorClient,
  ListEndpointGroupsCommand,
  ListListenersCommand,
  UpdateAcceleratorCommand,
  UpdateEndpointGroupCommand,
} from "@aws-sdk/client-global-accelerator";
import { PutCommand, ScanCommand } from "@aws-sdk/lib-dynamodb";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { nginxIn } from "../../edge/agent/nginx/nginx.ts";
import { Session } from "../../local/demo/user.ts";
import { isAlive } from "../../local/processes.ts";
import { eventually } from "../local/harness.ts";
import { World } from "./world.ts";

let world: World;
let events: EventBridgeClient;

beforeAll(async () => {
  world = await World.start({ edgesPerGroup: 2, names: ["acme"] });
  events = new EventBridgeClient(world.client());
  await world.put(world.record("acme", { multiRegion: true }));
  await world.settled("acme", "Admitted");
});
afterAll(async () => {
  events?.destroy();
  await world?.stop();
});

const signal = (region: string, health: "degraded" | "healthy", edgeId?: string) =>
  events.send(
    new PutEventsCommand({
      Entries: [
        {
          EventBusName: world.cloud.endpoints().bus,
          Source: "landfall.health",
          DetailType: "Edge Health",
          Detail: JSON.stringify({ cell: "c1", region, health, ...(edgeId === undefined ? {} : { edgeId }) }),
        },
      ],
    }),
  );
const weights = async () => Object.fromEntries((await world.edges()).map(({ edgeId, weight }) => [edgeId, weight]));
const dials = async () => Object.fromEntries((await world.edges()).map(({ region, dial }) => [region, dial]));
const edgesIn = async (region: string) =>
  (await world.edges()).filter((edge) => edge.region === region).map(({ edgeId }) => edgeId);

describe("failover", () => {
  it("adds every ready edge to the accelerator with an explicit weight", async () => {
    await eventually(weights, (now) => Object.values(now).every((weight) => weight === 128)); // the last one may still climb
    expect(await dials()).toEqual({ "us-west-2": 100, "eu-west-3": 100, "ap-northeast-1": 100 });
  });

  it("sets a degraded edge's weight to 0, and restores it when the edge recovers", async () => {
    const [edge = ""] = await edgesIn("eu-west-3");
    await signal("eu-west-3", "degraded", edge);
    await eventually(weights, (now) => now[edge] === 0);
    await signal("eu-west-3", "healthy", edge);
    await eventually(weights, (now) => now[edge] === 128);
  });

  it("gives an edge that says it is nearly full a quarter of the users, and all of them again when it has room", async () => {
    const { id, agentPid } = world.cloud.endpoints().edges.find(({ region }) => region === "eu-west-3")!;
    const TableName = world.cloud.endpoints().tables.reports;
    const { Items = [] } = await world.tables.send(new ScanCommand({ TableName }));
    const last = Items.find((item) => String(item.id).endsWith(id))!;
    const at = Date.now() + 1;
    const report = JSON.stringify({ ...JSON.parse(String(last.report)), at, changedAt: at, fullness: "tight" });
    process.kill(agentPid!, "SIGSTOP"); // it would say otherwise
    try {
      await world.tables.send(new PutCommand({ TableName, Item: { ...last, beat: false, report } }));
      await eventually(weights, (now) => now[id] === 32);
    } finally {
      process.kill(agentPid!, "SIGCONT");
    }
    await eventually(weights, (now) => now[id] === 128, 15_000);
  });

  it("sets a draining edge's weight to 0, cuts no session early, and shows its progress", async () => {
    const [edgeId = ""] = await edgesIn("ap-northeast-1");
    const { dir, id } = world.cloud.endpoints().edges.find((edge) => edge.id === edgeId)!;
    const { address } = world.cloud.context.services.compute.edges.find(({ config }) => config.id === id)!.config;
    const { session } = await Session.open(world.edgeTls("acme", address), world.from("tokyo"));
    const asked = path.join(dir, "state/drain");
    writeFileSync(asked, "");
    const drainOf = async () => (await world.edges()).find((edge) => edge.edgeId === edgeId)?.drain;
    await eventually(drainOf, (drain) => drain?.phase === "leaving" && drain.sessions >= 1, 15_000);
    await eventually(weights, (now) => now[edgeId] === 0);
    await session.key();
    await eventually(drainOf, (drain) => drain?.phase === "drained", 30_000);
    await expect(session.key()).rejects.toThrow();
    rmSync(asked);
    // The accelerator's next check finds it, up to 10 s later, and then it returns in steps.
    await eventually(weights, (now) => now[edgeId] === 128, 30_000);
  });

  it("writes nothing in monitor mode, and writes in enforce mode", async () => {
    const [edge = ""] = await edgesIn("eu-west-3");
    const { ssm, states } = world.cloud.context.services;
    ssm.put("us-west-2", "/landfall/local/mode", "monitor");
    await new Promise((resolve) => setTimeout(resolve, 5500)); // functions cache settings for 5 s
    const before = states.transitions;
    await signal("eu-west-3", "degraded", edge);
    await eventually(
      () => states.transitions,
      (now) => now >= before + 3,
    );
    expect((await weights())[edge]).toBe(128);
    ssm.put("us-west-2", "/landfall/local/mode", "enforce");
    await new Promise((resolve) => setTimeout(resolve, 5500));
    await signal("eu-west-3", "degraded", edge);
    await eventually(weights, (now) => now[edge] === 0);
    await signal("eu-west-3", "healthy", edge);
    await eventually(weights, (now) => now[edge] === 128);
  });

  it("sends users of a degraded region elsewhere, and back when it recovers", async () => {
    await signal("ap-northeast-1", "degraded");
    await eventually(
      () => world.lands(world.tls("acme"), "tokyo"),
      (landed) => landed === "us-west-2",
    );
    await signal("ap-northeast-1", "healthy");
    await eventually(
      () => world.lands(world.tls("acme"), "tokyo"),
      (landed) => landed === "ap-northeast-1",
    );
  });

  it("never withdraws the last endpoint: users are served even if everything is degraded", async () => {
    const all = await world.edges();
    for (const { edgeId, region } of all) {
      await signal(region, "degraded", edgeId);
      await signal(region, "degraded");
    }
    for (const city of ["paris", "tokyo", "seattle", "sydney", "mumbai", "cape-town"]) {
      expect(await world.lands(world.tls("acme"), city)).not.toBe("nothing");
      const taking = (await world.edges()).filter(({ weight, dial }) => weight! > 0 && dial! > 0);
      expect(taking.length).toBeGreaterThan(0);
    }
    for (const { edgeId, region } of all) {
      await signal(region, "healthy", edgeId);
      await signal(region, "healthy");
    }
    await eventually(weights, (now) => Object.values(now).every((weight) => weight === 128));
    await eventually(dials, (now) => Object.values(now).every((dial) => dial === 100));
  });

  it("takes out an edge that accepts and forwards nothing, because its neighbours say so, and lets it return", async () => {
    const { id, dir, agentPid } = world.cloud.endpoints().edges.find(({ region }) => region === "us-west-2")!;
    const pids = [agentPid!, ...nginxIn(path.join(dir, "run"))];
    for (const pid of pids) process.kill(pid, "SIGSTOP"); // the kernel still accepts connections
    try {
      await eventually(weights, (now) => now[id] === 0, 8000);
      const { viewFailover } = await import("../../cli/failover.ts");
      const { now } = await viewFailover("edge", id, {});
      expect(now!.beliefs.find(({ edgeId }) => edgeId === id)).toMatchObject({ state: "down", by: "neighbours" });
    } finally {
      for (const pid of pids) process.kill(pid, "SIGCONT");
    }
    await eventually(weights, (now) => now[id] === 128, 40_000);
  });

  it("routes around a dead edge by the accelerator's health check, and uses it again later", async () => {
    const [victim = ""] = await edgesIn("eu-west-3");
    const ec2 = new EC2Client(world.client("eu-west-3"));
    await ec2.send(new StopInstancesCommand({ InstanceIds: [victim] }));
    const health = async () => (await world.edges()).find(({ edgeId }) => edgeId === victim)?.health;
    await eventually(health, (now) => now === "UNHEALTHY", 30_000);
    for (let i = 0; i < 10; i++) expect(await world.lands(world.tls("acme"), "paris")).toBe("eu-west-3");
    await ec2.send(new StartInstancesCommand({ InstanceIds: [victim] }));
    await eventually(health, (now) => now === "HEALTHY", 30_000);
    ec2.destroy();
  });
});

describe("a terminated edge", () => {
  it("blocks no write of its region, and leaves the accelerator; what people changed there is put back within seconds", async () => {
    const [victim = "", other = ""] = await edgesIn("eu-west-3");
    const ec2 = new EC2Client(world.client("eu-west-3"));
    const agent = world.cloud.endpoints().edges.find(({ id }) => id === victim)!.agentPid!;
    await ec2.send(new TerminateInstancesCommand({ InstanceIds: [victim] }));
    await eventually(
      () => isAlive(agent),
      (now) => !now,
    );
    await eventually(weights, (now) => now[victim] === undefined, 3000); // EC2 says so at once
    await signal("eu-west-3", "degraded", other);
    await signal("eu-west-3", "degraded");
    await eventually(dials, (now) => now["eu-west-3"] === 0);
    ec2.destroy();

    const ga = new GlobalAcceleratorClient(world.client());
    const { arn } = world.accelerator;
    const { Listeners = [] } = await ga.send(new ListListenersCommand({ AcceleratorArn: arn }));
    const groups = async () =>
      (await ga.send(new ListEndpointGroupsCommand({ ListenerArn: Listeners[0]!.ListenerArn }))).EndpointGroups ?? [];
    const [group] = await groups();
    await ga.send(new UpdateAcceleratorCommand({ AcceleratorArn: arn, Enabled: false }));
    await ga.send(new UpdateEndpointGroupCommand({ EndpointGroupArn: group!.EndpointGroupArn, PortOverrides: [] }));
    const isWhole = async () => {
      const { Accelerator } = await ga.send(new DescribeAcceleratorCommand({ AcceleratorArn: arn }));
      return (
        Accelerator?.Enabled === true && (await groups()).every(({ PortOverrides }) => PortOverrides?.length === 1)
      );
    };
    await eventually(isWhole, (now) => now, 15_000);
    ga.destroy();
    await signal("eu-west-3", "healthy");
    await signal("eu-west-3", "healthy", other);
    await eventually(weights, (now) => now[other] === 128 && now[victim] === undefined, 90_000);
  });
});

describe("stopping", () => {
  it("leaves no process behind", async () => {
    const pids = world.cloud
      .endpoints()
      .edges.filter(({ agentPid }) => agentPid !== undefined)
      .flatMap(({ pid, agentPid }) => [pid, agentPid]);
    expect(pids.length).toBe(10);
    expect(pids).not.toContain(undefined);
    await world.stop();
    expect(pids.filter((pid) => isAlive(pid!))).toEqual([]);
  });
});
