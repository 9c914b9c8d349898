/** The demo's steps. Each prints its results, and throws if an expectation fails. */

import { setTimeout as sleep } from "node:timers/promises";
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { EC2Client, StartInstancesCommand, StopInstancesCommand } from "@aws-sdk/client-ec2";
import { EventBridgeClient, PutEventsCommand } from "@aws-sdk/client-eventbridge";
import { DeleteCommand, DynamoDBDocumentClient, PutCommand } from "@aws-sdk/lib-dynamodb";
import type { CellView } from "../../cli/status.ts";
import { newTable } from "../../cli/table.ts";
import type { TenantView } from "../../cli/view.ts";
import { detailTypes, sources } from "../../schemas/events.ts";
import type { Cloud } from "../cloud.ts";
import { openPod } from "../controls.ts";
import { administrator } from "../iam/iam.ts";
import { cities, withinRegionMs } from "../network/geography.ts";
import { localPort } from "../services/accelerator/accelerator.ts";
import { type EchoServer, startEchoServer } from "./echo-server.ts";
import { type Destination, Session, typeKeys } from "./user.ts";

export class StepFailed extends Error {
  override readonly name = "StepFailed";
}

export function must(holds: boolean, what: string): asserts holds {
  if (!holds) throw new StepFailed(what);
}

/** A check every 10 s with a threshold of 1, 2 s for an answer, and time for the change to reach the data plane. */
const detectionMs = 20_000;

export interface Views {
  tenant(id: string): Promise<TenantView | undefined>;
  status(): Promise<CellView[]>;
}

/** A new connection: when it began and was served or failed, and the region that it landed in, or why it failed. */
interface Attempt {
  at: number;
  over: number;
  landed: string | undefined;
  error?: Error;
}

const domain = "tenants.localhost.example";
const shown = ["seattle", "new-york", "paris", "sao-paulo", "tokyo", "sydney"];
const multi = { id: "acme", name: `acme.${domain}` };
const home = { id: "globex", name: `globex.${domain}` };

const eventually = async (holds: () => Promise<boolean>, what: string, withinMs = 30_000, everyMs = 25) => {
  for (const until = Date.now() + withinMs; Date.now() < until; await sleep(everyMs)) if (await holds()) return;
  throw new StepFailed(`${what}: not within ${withinMs / 1000} s`);
};

export class Story {
  readonly #cloud: Cloud;
  readonly #views: Views;
  readonly #say: (text: string) => void;
  readonly #options;
  readonly #tables;
  readonly figures: Record<string, unknown> = {};
  #server!: EchoServer;
  #pods!: Record<string, string>;

  constructor(cloud: Cloud, views: Views, say: (text: string) => void) {
    this.#cloud = cloud;
    this.#views = views;
    this.#say = say;
    const { aws } = cloud.endpoints();
    this.#options = { endpoint: aws.endpoint, region: aws.region, credentials: administrator };
    this.#tables = DynamoDBDocumentClient.from(new DynamoDBClient(this.#options));
  }

  close(): void {
    this.#server?.close();
    this.#tables.destroy();
  }

  get #geography() {
    return this.#cloud.context.geography;
  }
  get #accelerator() {
    return this.#cloud.endpoints().accelerators[0]!;
  }
  #from = (city: string) => this.#cloud.endpoints().locations[city]!;
  #tls = (name: string, host = this.#accelerator.address, port = localPort(443)): Destination => ({
    host,
    port,
    servername: name,
    ca: this.#server.ca,
  });

  async #edgesIn(): Promise<CellView["edges"]> {
    return (await this.#views.status()).flatMap(({ edges }) => edges);
  }

  /** Waits until every edge serves and is healthy in the accelerator. */
  async ready(): Promise<string> {
    const count = this.#cloud.context.services.compute.edges.length;
    await eventually(
      async () =>
        (await this.#edgesIn()).filter(({ health, serving }) => serving && health === "HEALTHY").length === count,
      "every edge healthy in the accelerator",
    );
    return `${count} edges in ${this.#geography.regions.length} regions, all healthy in the accelerator`;
  }

  /** Starts the tenants' servers: one real server, with an address in each region. */
  async servers(): Promise<string> {
    this.#server = await startEchoServer([multi.name, home.name], this.#geography);
    this.#pods = {};
    const ports = { geography: this.#geography, network: this.#cloud.context.network, pods: this.#cloud.pods };
    for (const region of this.#geography.regions) {
      const { address } = await openPod(
        { region, targetHost: "127.0.0.1", targetPort: this.#server.tlsPort, port: 3080 },
        ports,
      );
      await openPod({ region, address, targetHost: "127.0.0.1", targetPort: this.#server.rawPort, port: 3023 }, ports);
      this.#pods[region] = address;
    }
    return `a tenant's proxy in each of ${Object.keys(this.#pods).join(", ")}`;
  }

  async tenants(): Promise<string> {
    const everywhere = Object.fromEntries(Object.entries(this.#pods).map(([region, address]) => [region, [address]]));
    const [homeRegion = ""] = this.#geography.regions;
    const base = { homeRegion, backends: { [homeRegion]: everywhere[homeRegion] } };
    const records = [
      {
        ...base,
        tenantId: multi.id,
        hostnames: [multi.name],
        multiRegion: true,
        protocols: { tls: 3080, ssh: 3023 },
        backends: everywhere,
      },
      { ...base, tenantId: home.id, hostnames: [home.name], protocols: { tls: 3080 } },
      {
        ...base,
        tenantId: "initech",
        hostnames: [],
        multiRegion: true,
        protocols: { postgres: 3023 },
        backends: everywhere,
      },
    ];
    const times: number[] = [];
    for (const record of records) {
      const began = Date.now();
      await this.#put(record);
      await eventually(
        async () => (await this.#views.tenant(record.tenantId))?.served === "all",
        `${record.tenantId} served by every edge`,
      );
      times.push(Date.now() - began);
      this.#say(`    ${record.tenantId.padEnd(9)} served by every edge after ${times.at(-1)} ms`);
    }
    this.figures.servedMs = Object.fromEntries(records.map(({ tenantId }, index) => [tenantId, times[index]]));
    await this.#put({
      ...base,
      tenantId: "umbrella",
      hostnames: ["not a name"],
      protocols: { tls: 3080 },
      backends: { [homeRegion]: ["8.8.8.8"] },
    });
    await eventually(
      async () => (await this.#views.tenant("umbrella"))?.state === "Rejected",
      "a bad record is rejected",
    );
    const reasons = (await this.#views.tenant("umbrella"))?.reasons ?? [];
    must(reasons.length > 0, "a rejection has reasons");
    for (const reason of reasons) this.#say(`    umbrella  rejected: ${reason}`);
    return "three tenants served, one bad record rejected without a delay for the others";
  }

  #put = (Item: Record<string, unknown>) =>
    this.#tables.send(new PutCommand({ TableName: this.#cloud.endpoints().tables.tenants, Item }));

  /** Compares the echo of keys from six cities: through one region for all, and through Landfall. */
  async cities(): Promise<string> {
    const { regions } = this.#geography;
    const [homeRegion = ""] = regions;
    const ssh = (await this.#views.tenant(multi.id))!.ports.ssh!;
    const table = newTable(["city", "lands in", "one region", "Landfall TLS", "Landfall raw", "path", "TLS / path"]);
    const rows = await Promise.all(
      shown.map(async (name) => {
        const city = cities.find((candidate) => candidate.name === name)!;
        const from = this.#from(name);
        const one = await typeKeys(this.#tls(multi.name, this.#pods[homeRegion]!, 3080), from);
        const tls = await typeKeys(this.#tls(multi.name), from);
        const raw = await typeKeys({ host: this.#accelerator.address, port: ssh }, from);
        const nearest = regions.toSorted(
          (a, b) => this.#geography.regionRtt(city.region, a) - this.#geography.regionRtt(city.region, b),
        )[0]!;
        const pathMs = this.#geography.rtt(city, { region: nearest, lastMileMs: 0 }) + withinRegionMs;
        must(
          tls.landed === nearest && raw.landed === nearest,
          `${name} lands in ${nearest} (it landed in ${tls.landed} and ${raw.landed})`,
        );
        return {
          city: name,
          landed: tls.landed,
          oneRegionMs: one.echoMs,
          tlsMs: tls.echoMs,
          rawMs: raw.echoMs,
          pathMs,
          ratio: tls.echoMs / pathMs,
        };
      }),
    );
    for (const row of rows)
      table.push([
        row.city,
        row.landed,
        ...[row.oneRegionMs, row.tlsMs, row.rawMs, row.pathMs].map((ms) => `${ms.toFixed(1)} ms`),
        row.ratio.toFixed(2),
      ]);
    for (const line of table.toString().split("\n")) this.#say(`    ${line}`);
    this.figures.cities = rows;
    const far = rows.filter(({ landed }) => landed !== homeRegion);
    must(
      far.every((row) => row.tlsMs < row.oneRegionMs && row.rawMs < row.oneRegionMs),
      "the keys of far users are echoed sooner than through one region",
    );
    const homeOnly = await typeKeys(this.#tls(home.name), this.#from("tokyo"));
    must(homeOnly.landed !== homeRegion, "a tenant with one region is reached through the nearest edge too");
    return `far users: ${far.map((row) => `${row.city} ${row.oneRegionMs.toFixed(0)} → ${row.tlsMs.toFixed(0)} ms`).join(", ")}`;
  }

  /** Opens new connections until `done`. */
  async #traffic(city: string, everyMs: number, done: () => boolean): Promise<Attempt[]> {
    const attempts: Promise<Attempt>[] = [];
    while (!done()) {
      const at = Date.now();
      attempts.push(
        Session.open(this.#tls(multi.name), this.#from(city), 3000).then(
          ({ session, landed }) => {
            session.close();
            return { at, over: Date.now(), landed };
          },
          (error: Error) => ({ at, over: Date.now(), landed: undefined, error }),
        ),
      );
      await sleep(everyMs);
    }
    return Promise.all(attempts);
  }

  async edgeDies(): Promise<string> {
    const region = "ap-northeast-1";
    const victim = (await this.#edgesIn()).find((edge) => edge.region === region)!.edgeId;
    const client = new EC2Client({ ...this.#options, region });
    let over = false;
    const traffic = this.#traffic("tokyo", 50, () => over);
    await sleep(500);
    const killedAt = Date.now();
    await client.send(new StopInstancesCommand({ InstanceIds: [victim] }));
    const healthOf = async () => (await this.#edgesIn()).find(({ edgeId }) => edgeId === victim)?.health;
    try {
      await eventually(async () => (await healthOf()) === "UNHEALTHY", "the accelerator reports the edge as unhealthy");
      await sleep(1500);
    } finally {
      over = true;
    }
    const attempts = await traffic;
    const failed = attempts.filter(({ over, landed }) => landed === undefined && over >= killedAt);
    const lastMs = Math.max(0, ...failed.map(({ at }) => at - killedAt));
    const early = attempts.filter(({ over, landed }) => landed === undefined && over < killedAt);
    must(early.length === 0, `no connection failed before the edge died: ${early[0]?.error?.message}`);
    const late = attempts.slice(-5).find(({ landed }) => landed === undefined);
    must(late === undefined, `new connections are served again: ${late?.error?.message}`);
    this.figures.edgeDeath = { connections: attempts.length, failed: failed.length, lastFailureMs: lastMs };
    await client.send(new StartInstancesCommand({ InstanceIds: [victim] }));
    await eventually(async () => (await healthOf()) === "HEALTHY", "the edge is back");
    client.destroy();
    must(
      lastMs <= detectionMs,
      `no connection fails later than ${detectionMs} ms after the edge died: ${failed.at(-1)?.error?.message}, after ${lastMs} ms`,
    );
    return `routed around it within ${(lastMs / 1000).toFixed(1)} s (the accelerator's check takes up to ${detectionMs / 1000} s): ${failed.length} of ${attempts.length} new connections failed until then, none after; the edge is back`;
  }

  async regionOut(): Promise<string> {
    const region = "ap-northeast-1";
    const client = new EventBridgeClient(this.#options);
    const { writes } = this.#cloud.context.services.accelerator;
    const EventBusName = this.#cloud.endpoints().bus;
    const signal = async (health: "degraded" | "healthy", lands: (landed: string) => boolean) => {
      const began = Date.now();
      const Detail = JSON.stringify({ cell: this.#accelerator.cell, region, health, reason: "demo" });
      await client.send(
        new PutEventsCommand({
          Entries: [{ EventBusName, Source: sources.health, DetailType: detailTypes.edgeHealth, Detail }],
        }),
      );
      await eventually(
        async () => writes.some(({ at }) => at >= began),
        `a write to the accelerator after ${region} is ${health}`,
      );
      const writtenMs = writes.find(({ at }) => at >= began)!.at - began;
      let landed = "";
      await eventually(
        async () => {
          landed = (await typeKeys(this.#tls(multi.name), this.#from("tokyo"), 1)).landed;
          return lands(landed);
        },
        `users in tokyo land in the expected region after ${region} is ${health}`,
        30_000,
        100,
      );
      return { writtenMs, landed, movedMs: Date.now() - began };
    };
    const out = await signal("degraded", (landed) => landed !== region);
    const back = await signal("healthy", (landed) => landed === region);
    client.destroy();
    this.figures.regionOut = {
      outWrittenMs: out.writtenMs,
      backWrittenMs: back.writtenMs,
      landedMeanwhile: out.landed,
    };
    return `${region} out: weights and dials written after ${out.writtenMs} ms, tokyo lands in ${out.landed}; back after ${back.writtenMs} ms`;
  }

  async deletion(): Promise<string> {
    const began = Date.now();
    await this.#tables.send(
      new DeleteCommand({ TableName: this.#cloud.endpoints().tables.tenants, Key: { tenantId: home.id } }),
    );
    const answers = () =>
      Session.open(this.#tls(home.name), this.#from("paris"), 3000).then(
        ({ session }) => {
          session.close();
          return true;
        },
        () => false,
      );
    await eventually(async () => !(await answers()), "connections to the deleted tenant's name fail");
    const goneMs = Date.now() - began;
    must((await typeKeys(this.#tls(multi.name), this.#from("paris"), 1)).landed !== "", "the other tenants are served");
    this.figures.deletion = { goneMs };
    return `${home.name} stopped answering after ${goneMs} ms; the other tenants are still served`;
  }
}
