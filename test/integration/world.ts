/** A whole embedded cloud with real edges, and helpers for tests. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { DeleteCommand, DynamoDBDocumentClient, PutCommand } from "@aws-sdk/lib-dynamodb";
import { connectTo } from "../../cli/connect.ts";
import type { CellView } from "../../cli/status.ts";
import type { TenantView } from "../../cli/view.ts";
import { Cloud } from "../../local/cloud.ts";
import { openPod } from "../../local/controls.ts";
import { type EchoServer, startEchoServer } from "../../local/demo/echo-server.ts";
import { type Destination, Session } from "../../local/demo/user.ts";
import { administrator } from "../../local/iam/iam.ts";
import { localPort } from "../../local/services/accelerator/accelerator.ts";
import { eventually } from "../local/harness.ts";

export const domain = "tenants.localhost.example";
export const homeRegion = "us-west-2";

export class World {
  readonly cloud: Cloud;
  readonly server: EchoServer;
  /** Region → a pod's address, with TLS at 3080 and raw at 3023. */
  readonly pods: Record<string, string>;
  readonly tables: DynamoDBDocumentClient;
  readonly faults: string[];
  /** The cloud's folder, with its endpoints.json. */
  readonly dir: string;

  private constructor(cloud: Cloud, server: EchoServer, pods: World["pods"], dir: string, faults: string[]) {
    this.cloud = cloud;
    this.server = server;
    this.pods = pods;
    this.dir = dir;
    this.faults = faults;
    this.tables = DynamoDBDocumentClient.from(new DynamoDBClient(this.client()), {
      marshallOptions: { convertClassInstanceToMap: true },
    });
  }

  static async start(options: { edgesPerGroup?: number; lockFile?: string; names: string[] }): Promise<World> {
    const dir = mkdtempSync(path.join(os.tmpdir(), "landfall-test-"));
    const faults: string[] = [];
    const { names, ...rest } = options;
    const cloud = await Cloud.boot({
      dir,
      ...rest,
      onFault: (error, what) => faults.push(`${what}: ${String(error)}`),
    });
    connectTo(cloud.endpoints());
    writeFileSync(path.join(dir, "endpoints.json"), JSON.stringify(cloud.endpoints()));
    const { geography, network } = cloud.context;
    const server = await startEchoServer(
      names.map((name) => `${name}.${domain}`),
      geography,
    );
    const pods: World["pods"] = {};
    for (const region of geography.regions) {
      const ports = { geography, network, pods: cloud.pods };
      const { address } = await openPod(
        { region, targetHost: "127.0.0.1", targetPort: server.tlsPort, port: 3080 },
        ports,
      );
      await openPod({ region, address, targetHost: "127.0.0.1", targetPort: server.rawPort, port: 3023 }, ports);
      pods[region] = address;
    }
    const world = new World(cloud, server, pods, dir, faults);
    await eventually(
      () => world.edges(),
      (edges) =>
        edges.length === cloud.context.services.compute.edges.length &&
        edges.every(({ health, serving }) => serving && health === "HEALTHY"),
      60_000,
    );
    return world;
  }

  async stop(): Promise<void> {
    this.server.close();
    this.tables.destroy();
    await this.cloud.stop();
    rmSync(this.dir, { recursive: true, force: true });
  }

  client = (region = homeRegion) => ({
    endpoint: this.cloud.endpoints().aws.endpoint,
    region,
    credentials: administrator,
  });

  get accelerator() {
    return this.cloud.endpoints().accelerators[0]!;
  }
  from = (city: string) => this.cloud.endpoints().locations[city]!;

  /** A tenant's record with a pod in every region, with `changes` applied. */
  record = (tenantId: string, changes: Record<string, unknown> = {}) => ({
    tenantId,
    hostnames: [`${tenantId}.${domain}`],
    homeRegion,
    protocols: { tls: 3080 },
    backends: Object.fromEntries(Object.entries(this.pods).map(([region, address]) => [region, [address]])),
    ...changes,
  });

  put = (record: Record<string, unknown>) =>
    this.tables.send(new PutCommand({ TableName: this.cloud.endpoints().tables.tenants, Item: record }));
  remove = (tenantId: string) =>
    this.tables.send(new DeleteCommand({ TableName: this.cloud.endpoints().tables.tenants, Key: { tenantId } }));

  async view(tenantId: string): Promise<TenantView | undefined> {
    const { viewTenant } = await import("../../cli/view.ts");
    return viewTenant(tenantId);
  }
  async cells(): Promise<CellView[]> {
    const { viewStatus } = await import("../../cli/status.ts");
    return viewStatus();
  }
  edges = async () => (await this.cells()).flatMap(({ edges }) => edges);

  /** Waits until the tenant is settled in this state, at this generation or a later one. */
  settled = (tenantId: string, state: string, generation = 1) =>
    eventually(
      () => this.view(tenantId),
      (view) =>
        view?.state === state &&
        view.generation >= generation &&
        (state === "Rejected" || state === "Pending" || view.observedGeneration === view.generation),
      30_000,
    );

  tls = (name: string): Destination => ({
    host: this.accelerator.address,
    port: localPort(443),
    servername: `${name}.${domain}`,
    ca: this.server.ca,
  });
  /** Directly to an edge, without the accelerator. */
  edgeTls = (name: string, address: string): Destination => ({ ...this.tls(name), host: address, port: 8443 });
  raw = (port: number): Destination => ({ host: this.accelerator.address, port });

  /** The region that a connection lands in; `nothing` without an answer. */
  async lands(to: Destination, city = "seattle"): Promise<string> {
    try {
      const { session, landed } = await Session.open(to, this.from(city), 3000);
      session.close();
      return landed;
    } catch {
      return "nothing";
    }
  }

  /** A route file on every edge, by edge id; undefined where there is none. */
  routeFiles(file: string): (string | undefined)[] {
    return this.cloud.endpoints().edges.map(({ dir }) => {
      try {
        return readFileSync(path.join(dir, "run/routes", file), "utf8");
      } catch {
        return undefined;
      }
    });
  }
}
