/** An embedded cloud with six edges in three regions, for benches: writes records, reads route files. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import {
  BatchWriteCommand,
  type BatchWriteCommandInput,
  DynamoDBDocumentClient,
  PutCommand,
} from "@aws-sdk/lib-dynamodb";
import { connectTo } from "../cli/connect.ts";
import { Cloud } from "../local/cloud.ts";
import type { FaultRates } from "../local/faults.ts";
import { administrator } from "../local/iam/iam.ts";
import type { ProfileName } from "../local/latency.ts";
import { type PartitionUse, partitionLimits } from "../local/services/dynamodb/capacity.ts";
import type { Figures } from "./figures.ts";

const recordsPerCall = 25;
/** More than the SDK's default: in profile harsh, a bench's own calls are throttled too. */
const attemptsMax = 10;
const domain = "tenants.localhost.example";

export interface CloudOptions {
  profile: ProfileName;
  rates: Partial<FaultRates>;
}

export class BenchFleet {
  readonly cloud: Cloud;
  readonly #tables: DynamoDBDocumentClient;
  readonly #dir: string;
  readonly faults: string[];

  private constructor(cloud: Cloud, dir: string, faults: string[]) {
    this.cloud = cloud;
    this.#dir = dir;
    this.faults = faults;
    const { endpoint } = cloud.endpoints().aws;
    const options = { endpoint, region: "us-west-2", credentials: administrator, maxAttempts: attemptsMax };
    const client = new DynamoDBClient(options);
    this.#tables = DynamoDBDocumentClient.from(client);
  }

  static async start({ profile, rates }: CloudOptions): Promise<BenchFleet> {
    const dir = mkdtempSync(path.join(os.tmpdir(), "landfall-bench-"));
    const faults: string[] = [];
    const cloud = await Cloud.boot({
      dir,
      profile,
      rates,
      onFault: (error, what) => faults.push(`${what}: ${String(error)}`),
    });
    connectTo(cloud.endpoints());
    const fleet = new BenchFleet(cloud, dir, faults);
    const { viewStatus } = await import("../cli/status.ts");
    await fleet.until("every edge is ready", async () => {
      const edges = (await viewStatus()).flatMap((cell) => cell.edges);
      return edges.length === cloud.context.services.compute.edges.length && edges.every(({ serving }) => serving);
    });
    return fleet;
  }

  /** The load of the ledger's and the tenants' busiest partition key, against what AWS gives to a partition. */
  addBusiestPartition(figures: Figures): void {
    const peaks = this.cloud.context.services.database.capacity.busiest(Number.POSITIVE_INFINITY);
    const peak = (of: (use: PartitionUse) => number) => Math.max(0, ...peaks.map(of));
    const { writeUnits, readUnits } = partitionLimits;
    const share = (units: number, limit: number) => (100 * units) / limit;
    const writes = share(
      peak(({ peakWriteUnits }) => peakWriteUnits),
      writeUnits,
    );
    const reads = share(
      peak(({ peakReadUnits }) => peakReadUnits),
      readUnits,
    );
    figures.add("busiest partition, write units in a second ÷ AWS's 1,000", writes, "%", peaks.length, "≤ 100");
    figures.add("busiest partition, read units in a second ÷ AWS's 3,000", reads, "%", peaks.length, "≤ 100");
  }

  async stop(): Promise<void> {
    this.#tables.destroy();
    await this.cloud.stop();
    rmSync(this.#dir, { recursive: true, force: true });
  }

  async until(what: string, holds: () => Promise<boolean> | boolean, withinMs = 300_000): Promise<void> {
    for (const until = Date.now() + withinMs; Date.now() < until; await sleep(20)) if (await holds()) return;
    throw new Error(`not within ${withinMs / 1000} s: ${what}; faults: ${this.faults.slice(-3).join("; ")}`);
  }

  id = (index: number) => `tenant-${index}`;
  /** An edge's file for the TLS route of a tenant. */
  routeFile = (tenantId: string) => `n/${tenantId}.${domain}`;

  /** A record whose only backend's address ends in `host` (1 to 250). */
  record(tenantId: string, host: number) {
    const network = this.cloud.context.geography.network;
    return {
      tenantId,
      hostnames: [`${tenantId}.${domain}`],
      homeRegion: "us-west-2",
      protocols: { tls: 3080 },
      backends: { "us-west-2": [`127.${network}.100.${host}`] },
    };
  }

  put = (record: Record<string, unknown>) =>
    this.#tables.send(new PutCommand({ TableName: this.cloud.endpoints().tables.tenants, Item: record }));

  /** Writes records as fast as BatchWriteItem accepts them, four calls at a time. */
  async putAll(from: number, to: number): Promise<void> {
    const TableName = this.cloud.endpoints().tables.tenants;
    let next = from;
    const worker = async () => {
      for (let at = next; at < to; at = next) {
        next = Math.min(at + recordsPerCall, to);
        const Items = Array.from({ length: next - at }, (_, index) => this.record(this.id(at + index), 1));
        const requests = Items.map((Item) => ({ PutRequest: { Item } }));
        await this.#writeAll({ [TableName]: requests });
      }
    };
    await Promise.all([worker(), worker(), worker(), worker()]);
  }

  async #writeAll(requests: NonNullable<BatchWriteCommandInput["RequestItems"]>): Promise<void> {
    for (let left = requests; Object.keys(left).length > 0; )
      left = (await this.#tables.send(new BatchWriteCommand({ RequestItems: left }))).UnprocessedItems ?? {};
  }

  get edges() {
    return this.cloud.endpoints().edges;
  }

  /** The content of a route file of an edge; undefined if there is no such file. */
  read(edge: { dir: string }, file: string): string | undefined {
    try {
      return readFileSync(path.join(edge.dir, "run/routes", file), "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    }
  }

  /** Durations of a function's invocations so far, ms, in order. */
  durations(name: string): number[] {
    const log = readFileSync(path.join(this.#dir, "logs", `landfall-local-${name}.log`), "utf8");
    return [...log.matchAll(/^REPORT .*Duration: ([\d.]+) ms$/gm)].map(([, ms]) => Number(ms));
  }

  /** Ids of each nginx's workers: a reload changes them. */
  workers = () => this.edges.map(({ pid }) => readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim());
}
