/**
 * A cell's control plane in virtual time: the real handlers and state machines on counted services, and edges that read
 * what real agents read. Nothing fails here, and no time is measured.
 */
import { type Leaves, leavesOf, readTrees, type Trees } from "../../edge/agent/snapshot/trees.ts";
import { Random } from "../../local/random.ts";
import { StatesError } from "../../local/services/states/expressions.ts";
import { States } from "../../local/services/states/states.ts";
import {
  acceleratorLimits,
  edgeLimits,
  reportStreamLimits,
  scheduleMinutes,
  streamLimits,
} from "../../schemas/limits.ts";
import { reportItem } from "../../schemas/report.ts";
import { type Manifest, manifestKey, objectKey, type SignedManifest } from "../../schemas/snapshot.ts";
import { fleetOf } from "../../test/simulation/fleet.ts";
import type { Code, FunctionName } from "../../test/simulation/functions.ts";
import { SimulatedLambda } from "../../test/simulation/lambda.ts";
import { definitionOf, machineArn } from "../../test/simulation/machines.ts";
import { Schedule } from "../../test/simulation/schedule.ts";
import { account, Services, tableKeys, tables } from "../../test/simulation/services.ts";
import { Stream } from "../../test/simulation/stream.ts";
import { Meter, minus, type Use } from "./meter.ts";

const home = "us-west-2";
const cellName = "c1";
/** Lambda polls a shard four times a second; a page of DynamoDB holds 1 MB, here of 600 bytes an item. */
const streamPollMs = 250;
const pageMax = 1500;
/** Polls are counted by their price, not made: an edge looks once a second here. */
const lookMs = 1000;

/** Six edges in a region, but three regions at least. */
const regionsFor = (edges: number) => Math.max(3, Math.min(20, Math.ceil(edges / 6)));
const regionsOf = (count: number) =>
  Array.from({ length: count }, (_, index) => (index === 0 ? home : `eu-west-${index}`));
const fleetIn = (regions: string[]) => fleetOf(regions, [{ name: cellName, portCount: 20_000, tlsCount: 200_000 }]);

class CountedEdge {
  readonly edgeId: string;
  readonly cell = cellName;
  readonly region: string;
  readonly state = "running";
  /** The objects on its disk. Their texts are not kept: there are a hundred edges. */
  #have = new Set<string>();
  #text = "";
  #trees: Trees = new Map();
  #leaves: Leaves = new Map();
  generation = 0;
  #structure: string | undefined;
  #said = { text: "", changedAt: 0 };

  constructor(edgeId: string, region: string) {
    this.edgeId = edgeId;
    this.region = region;
  }

  isHealthy = () => this.generation > 0;

  /** The manifest that it read last comes as 304, and without bytes. */
  hasSeen = (text: string) => text === this.#text;

  /** Reads what a manifest changes, as the agent does. @returns whether there was a new one */
  async pull(get: (key: string) => string | undefined): Promise<boolean> {
    const text = get(manifestKey(this.cell));
    if (text === undefined || text === this.#text) return false;
    this.#text = text;
    const manifest = JSON.parse((JSON.parse(text) as SignedManifest).manifest) as Manifest;
    const object = async (hash: string) => {
      const text = get(objectKey(hash));
      if (text === undefined) throw new Error(`${hash} is missing in ${this.region}`);
      this.#have.add(hash);
      return text;
    };
    const trees = await readTrees(manifest.routes, this.#trees, object);
    const leaves = leavesOf(manifest.routes, trees);
    const changed = [...leaves].flatMap(([leaf, hash]) => (this.#leaves.get(leaf) === hash ? [] : [{ hash }]));
    for (const { hash } of changed) if (!this.#have.has(hash)) await object(hash);
    this.#have = new Set([...trees.values()].flatMap(({ names }) => names).filter((hash) => this.#have.has(hash)));
    this.generation = manifest.generation;
    this.#trees = trees;
    this.#leaves = leaves;
    this.#structure = manifest.structure.default;
    return true;
  }

  item(at: number) {
    const said = {
      region: this.region,
      appliedGeneration: this.generation,
      ...(this.#structure === undefined ? {} : { structure: this.#structure }),
      serving: this.generation > 0,
      rejectedRoutes: [],
    };
    const text = JSON.stringify(said);
    if (text !== this.#said.text) this.#said = { text, changedAt: at };
    const item = reportItem("AROASCALE", this.edgeId, { ...said, at, changedAt: this.#said.changedAt });
    return { id: item.id.S, beat: item.beat.BOOL, report: item.report.S };
  }
}

export class ScaleWorld {
  readonly meter: Meter;
  readonly #schedule = new Schedule(new Random(1), { tickShare: 0 });
  readonly #edges: CountedEdge[] = [];
  readonly #services: Services;
  readonly #lambda: SimulatedLambda;
  readonly #states: States;
  #ids = 0;
  #statusesServed = 0;

  constructor(code: Code) {
    const schedule = this.#schedule;
    this.#services = new Services(schedule, fleetIn(regionsOf(3)), this.#edges, () => this.#states.service(), {
      pageMax,
    });
    const all = this.#services.tables;
    this.meter = new Meter(all, tableKeys, home);
    this.#services.carryOut = (call, perform) => this.meter.count(call, perform);
    this.#lambda = new SimulatedLambda(schedule, code, this.#services, { coldShare: 0.01 });
    const stream = (fn: FunctionName, keyName: string, batchMax: number, windowMs: number, carries?: string) =>
      new Stream(schedule, this.#lambda, {
        fn,
        keyName,
        batchMax,
        windowMs,
        ...(carries === undefined ? {} : { carries }),
      });
    const { batchRecordsMax, beatWindowSeconds } = reportStreamLimits;
    const tenants = stream(
      "start-rollout",
      "tenantId",
      streamLimits.batchRecordsMax,
      streamPollMs + 1000 * streamLimits.windowSeconds,
    );
    const news = stream("record-edge-report", "id", batchRecordsMax, streamPollMs, "report");
    const beats = stream("record-edge-report", "id", batchRecordsMax, 1000 * beatWindowSeconds, "report");
    all.onWrite = (table, old, now) => {
      if (table === tables.tenants) tenants.write(String((now ?? old)!.tenantId), now);
      if (table === tables.reports && now !== undefined) (now.beat === true ? beats : news).write(String(now.id), now);
      const observed = now?.sk === "STATUS" ? (now.observed as { served?: string } | undefined) : undefined;
      if (observed?.served === "all") this.#statusesServed++;
    };
    this.#states = new States({
      account,
      transitionMs: 5,
      invoke: (_, name, payload) => this.#invoke(name, payload),
      onFailed: ({ identity, error }) => schedule.note(`execution ${identity.name} failed: ${error}`),
    });
    for (const machine of ["tenant-rollout", "reconcile", "audit"])
      this.#states.createMachine(home, machine, `arn:aws:iam::${account}:role/r`, definitionOf(machine));
    setInterval(() => this.#services.accelerator.check(), 1000 * acceleratorLimits.healthCheckSeconds);
    setInterval(() => this.#start("reconcile", { cells: [cellName] }), scheduleMinutes.reconcile * 60_000);
    this.#start("reconcile", { cells: [cellName] });
  }

  async #invoke(name: string, payload: unknown): Promise<unknown> {
    try {
      return JSON.parse(JSON.stringify((await this.#lambda.invoke(name as FunctionName, payload)) ?? null)) as unknown;
    } catch (error) {
      throw new StatesError((error as Error).name, (error as Error).message);
    }
  }

  #start(machine: string, input: object): void {
    this.#states.startExecution(machineArn(machine), `${machine}-${this.#ids++}`, JSON.stringify(input));
  }

  /** Boots edges until there are `count`, and waits until each serves. */
  async grow(count: number): Promise<void> {
    const regions = regionsOf(regionsFor(count));
    this.#services.describe(fleetIn(regions));
    while (this.#edges.length < count) {
      const edge = new CountedEdge(`i-${this.#edges.length}`, regions[this.#edges.length % regions.length]!);
      this.#edges.push(edge);
      const jitter = this.#schedule.random.below(lookMs);
      setTimeout(
        () => setInterval(() => void this.#look(edge).catch((error) => this.#schedule.fail(error)), lookMs),
        jitter,
      );
      setTimeout(() => setInterval(() => this.#report(edge), edgeLimits.reportEveryMs), jitter * 10);
    }
    await this.until("every edge serves", () =>
      this.#edges.every(({ generation }) => generation === this.generation && generation > 0),
    );
    await this.pass(180_000); // reconcile copies to new regions, and forgets nothing
  }

  async #look(edge: CountedEdge): Promise<void> {
    const isNew = await edge.pull((key) => {
      const text = this.#services.object(edge.region, key);
      if (text !== undefined && !edge.hasSeen(text)) this.meter.edgeGot(text);
      return text;
    });
    if (isNew) this.#report(edge);
  }

  #report(edge: CountedEdge): void {
    const Item = edge.item(Date.now());
    const input = { TableName: tables.reports, Item };
    this.meter.dynamodb("PutCommand", input, () => this.#services.tables.send("PutCommand", input));
  }

  get generation(): number {
    return Number(this.#services.tables.item(tables.ledger, `CELL#${cellName}`, "COMMIT")?.generation ?? 0);
  }

  /** Writes records, each with a new backend, and waits until all are settled as served by every edge. */
  async write(ids: string[], version: number): Promise<void> {
    const wanted = this.#statusesServed + ids.length;
    for (const tenantId of ids) this.#put(tenantId, version);
    await this.until(`${ids.length} tenants are settled`, () => this.#statusesServed >= wanted);
  }

  /** Writes one record after the other, `perSecond`, without waiting. */
  async writeEvery(ids: string[], version: number, perSecond: number): Promise<void> {
    const wanted = this.#statusesServed + ids.length;
    for (const [index, tenantId] of ids.entries())
      setTimeout(() => this.#put(tenantId, version), (index * 1000) / perSecond);
    await this.until(`${ids.length} tenants are settled`, () => this.#statusesServed >= wanted);
  }

  #put(tenantId: string, version: number): void {
    const Item = {
      tenantId,
      hostnames: [`${tenantId}.tenants.example.com`],
      homeRegion: home,
      multiRegion: true,
      protocols: { tls: 3080 },
      backends: {
        [home]: [`10.0.${version % 250}.1`, `10.0.${version % 250}.2`],
        "eu-west-1": [`10.1.${version % 250}.1`],
      },
    };
    this.#services.tables.send("PutCommand", { TableName: tables.tenants, Item });
  }

  async audit(): Promise<void> {
    const name = `audit-${this.#ids}`;
    this.#start("audit", {});
    await this.pass(1000);
    const arn = machineArn("audit").replace(":stateMachine:", ":execution:");
    const status = () =>
      (
        this.#states.service().handlers.DescribeExecution!(
          { executionArn: `${arn}:${name}` } as never,
          { region: home } as never,
        ) as { status: string }
      ).status;
    await this.until("the audit ends", () => status() !== "RUNNING");
    if (status() !== "SUCCEEDED")
      throw new Error(`the audit is ${status()}: ${this.#schedule.history.slice(-3).join("; ")}`);
  }

  async passBetweenReconciles(ms: number): Promise<void> {
    const minute = scheduleMinutes.reconcile * 60_000;
    await this.pass(minute - (this.#schedule.now % minute) + 15_000);
    await this.pass(ms);
  }

  pass(ms: number): Promise<boolean> {
    return this.#schedule.run(this.#schedule.now + ms, () => false);
  }

  async until(what: string, holds: () => boolean): Promise<void> {
    if (!(await this.#schedule.run(this.#schedule.now + 3600_000, holds)))
      throw new Error(`not within a virtual hour: ${what}; ${this.#schedule.history.slice(-5).join("; ")}`);
  }

  /** What was used so far. */
  use(): Use {
    return {
      ...this.meter.use,
      transitions: this.#states.transitions,
      invocations: this.#lambda.invocations,
      calls: this.#lambda.calls,
    };
  }

  /** What `run` uses. */
  async during(run: () => Promise<unknown>): Promise<Use> {
    const before = this.use();
    await run();
    return minus(this.use(), before);
  }

  get virtualMs(): number {
    return this.#schedule.now;
  }

  async stop(): Promise<void> {
    await this.#schedule.stop(() => {
      this.#states.stop();
      this.#lambda.stop();
    });
  }
}
