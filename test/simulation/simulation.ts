/**
 * A whole control plane in one thread and in virtual time, with the real handlers and state machines and the embedded
 * cloud's own services. Calls take effect one at a time, in an order that the seed decides. Every step checks the laws.
 */
import { validateRecord } from "../../core/admission/validate.ts";
import { canonicalJson } from "../../core/canonical.ts";
import { Random } from "../../local/random.ts";
import { StatesError } from "../../local/services/states/expressions.ts";
import { States } from "../../local/services/states/states.ts";
import type { Fleet } from "../../schemas/fleet.ts";
import { edgeLimits, snapshotLimits } from "../../schemas/limits.ts";
import type { EdgeReport } from "../../schemas/report.ts";
import { converged } from "./convergence.ts";
import { SimulatedEdge } from "./edges.ts";
import type { Item } from "./expressions.ts";
import { fleetOf } from "./fleet.ts";
import { type Code, type FunctionName, functionNames, smallLeafBytes } from "./functions.ts";
import { SimulatedLambda } from "./lambda.ts";
import { Breach } from "./laws.ts";
import { definitionOf, machineArn } from "./machines.ts";
import { type RareState, Reached } from "./reached.ts";
import { Schedule } from "./schedule.ts";
import { type Happening, type Script, troubleMs } from "./script.ts";
import { account, Services, tables } from "./services.ts";
import { Stream } from "./stream.ts";
import type { Tables } from "./table.ts";
import { Watch } from "./watch.ts";

const regions = ["us-west-2", "eu-west-3"];
const home = regions[0]!;
/** Time limit for convergence after the last fault. */
const healMs = 30 * 60_000;
/** More often than in a deployment, so that the simulation covers what takes hours there. */
const auditMs = 100_000;
const pollMs = 2000;

Object.assign(snapshotLimits, { leafBytesMax: smallLeafBytes }); // as in the bundles: the laws are checked in this thread

export interface Outcome {
  breach: string | undefined;
  history: string[];
  /** Calls that functions made. */
  calls: number;
  reached: Map<RareState, number>;
}

export class Simulation {
  readonly fleet: Fleet;
  readonly edges: SimulatedEdge[];
  readonly tables: Tables;
  readonly #script: Script;
  readonly #schedule: Schedule;
  readonly #services: Services;
  readonly #lambda: SimulatedLambda;
  readonly #states: States;
  readonly #stream: Stream;
  readonly #reports: Stream;
  readonly #reached = new Reached();
  readonly #watch: Watch;
  #ids = 0;

  constructor(script: Script, code: Code) {
    this.#script = script;
    this.#schedule = new Schedule(new Random(script.seed ^ 0x5eed));
    this.fleet = fleetOf(
      regions,
      (script.seed % 3 === 0 ? ["c1", "c2"] : ["c1"]).map((name) => ({ name, portCount: 4, tlsCount: 5 })),
    );
    this.edges = this.fleet.cells.flatMap(({ name }) =>
      [home, "eu-west-3", "eu-west-3"].map((region, index) => new SimulatedEdge(`${name}-${index}`, name, region)),
    );
    this.#services = new Services(this.#schedule, this.fleet, this.edges, () => this.#states.service());
    this.tables = this.#services.tables;
    this.#lambda = new SimulatedLambda(this.#schedule, code, this.#services);
    this.#stream = new Stream(this.#schedule, this.#lambda, { fn: "start-rollout", keyName: "tenantId", batchMax: 5 });
    this.#reports = new Stream(this.#schedule, this.#lambda, {
      fn: "record-edge-report",
      keyName: "id",
      carries: "report",
      batchMax: 12,
    });
    this.#watch = new Watch({
      edges: this.edges,
      ledger: (pk, sk) => this.tables.item(tables.ledger, pk, sk),
      object: (key) => this.#services.object(home, key),
      versions: (tenantId) => this.#stream.records.filter(({ key }) => key === tenantId).map(({ image }) => image),
      now: () => this.#schedule.now,
      reached: (state) => this.#reached.note(state),
    });
    this.tables.onWrite = (table, old, now) => this.#wrote(table, old, now);
    this.#services.onRare = (state) => this.#reached.note(state);
    this.#lambda.onFailure = (name) => this.#reached.failed(name);
    this.#services.onEvent = (detailType, detail) => this.#watch.announced(detailType, detail);
    this.#states = new States({
      account,
      transitionMs: 5,
      invoke: (_, name, payload) => this.#invokeForMachine(name as FunctionName, payload),
      onFailed: ({ identity, error }) => this.#schedule.note(`execution ${identity.name} failed: ${error}`),
    });
    for (const machine of ["tenant-rollout", "reconcile", "audit"])
      this.#states.createMachine(home, machine, `arn:aws:iam::${account}:role/r`, definitionOf(machine));
  }

  /** Runs the script, heals everything, and waits for the desired state. */
  async run(): Promise<Outcome> {
    const schedule = this.#schedule;
    const globals = globalThis as { simulatedImages?: unknown };
    globals.simulatedImages = (ids: string[], sequences: string[]) => this.#stream.images(ids, sequences);
    try {
      this.#begin();
      await schedule.run(troubleMs, () => false);
      this.#heal();
      const healed = schedule.now;
      const atRest = () => schedule.now - healed > 60_000 && converged(this).length === 0;
      if (!(await schedule.run(healed + healMs, atRest))) {
        const left = converged(this).slice(0, 4).join("; ");
        schedule.fail(new Breach(`law 7: not converged ${healMs / 60_000} minutes after the last fault: ${left}`));
      }
    } catch (error) {
      schedule.fail(error);
    } finally {
      await schedule.stop(() => {
        this.#states.stop();
        this.#lambda.stop();
      });
      delete globals.simulatedImages;
    }
    return {
      breach: schedule.breach,
      history: schedule.history,
      calls: this.#lambda.calls,
      reached: this.#reached.counts,
    };
  }

  #begin(): void {
    for (const happening of this.#script.happenings) setTimeout(() => this.#happen(happening), happening.at);
    for (const edge of this.edges) {
      const jitter = this.#schedule.random.below(pollMs);
      setTimeout(() => setInterval(() => this.#poll(edge), pollMs), jitter);
      setTimeout(() => setInterval(() => this.#report(edge), edgeLimits.reportEveryMs), jitter + 500);
    }
    this.#start("reconcile");
    setInterval(() => this.#start("reconcile"), 60_000);
    setInterval(() => this.#start("audit"), auditMs);
  }

  #start(machine: "reconcile" | "audit"): void {
    const input = JSON.stringify({ cells: this.fleet.cells.map(({ name }) => name) });
    this.#states.startExecution(machineArn(machine), `${machine}-${this.#ids++}`, input);
  }

  #happen(happening: Happening): void {
    const { at: _, kind, ...rest } = happening;
    this.#schedule.note(`${kind} ${canonicalJson(rest)}`);
    const until = "ms" in happening ? this.#schedule.now + happening.ms : 0;
    const edge = "edge" in happening ? this.edges[happening.edge % this.edges.length]! : undefined;
    const TableName = tables.tenants;
    switch (happening.kind) {
      case "put":
        return void this.tables.send("PutCommand", { TableName, Item: happening.record });
      case "delete":
        return void this.tables.send("DeleteCommand", { TableName, Key: { tenantId: happening.tenantId } });
      case "crash":
      case "stall":
        return this.#lambda.arm(happening);
      case "throttle":
        return this.#services.throttle(happening.service, happening.calls);
      case "freeze":
        this.#services.freeze("on");
        this.#watch.frozenFrom = this.#schedule.now;
        setTimeout(() => this.#unfreeze(), happening.ms);
        return;
      case "lose-work":
        return this.#loseWork(this.fleet.cells[happening.cell % this.fleet.cells.length]!.name);
      case "conflict":
        return this.#services.conflict(happening.calls);
      case "partial":
        return this.#services.readInParts(happening.calls);
      case "region-out":
        return this.#services.takeOut(regions[happening.region]!, until);
      case "cut-off":
        edge!.cutOffUntil = until;
        if (happening.silent) edge!.unheardUntil = until;
        return;
      case "lag":
        edge!.lagUntil = until;
        return;
      case "unheard":
        edge!.unheardUntil = until;
        return;
      case "redeliver":
        return this.#stream.redeliver(happening.back, happening.count);
      default:
        return this.#start(happening.kind);
    }
  }

  #loseWork(cell: string): void {
    for (const { pk, sk } of this.tables.partition(tables.ledger, `DIRTY#${cell}`))
      this.tables.send("DeleteCommand", { TableName: tables.ledger, Key: { pk, sk } });
  }

  #unfreeze(): void {
    const isWaiting = this.fleet.cells.some(
      ({ name }) => this.tables.partition(tables.ledger, `DIRTY#${name}`).length > 0,
    );
    if (this.#watch.frozenFrom !== undefined && isWaiting) this.#reached.note("a commit waits for the end of a freeze");
    this.#services.freeze("off");
    this.#watch.frozenFrom = undefined;
  }

  #heal(): void {
    this.#schedule.note("nothing fails any more");
    this.#lambda.heal();
    this.#services.heal();
    this.#unfreeze();
    for (const edge of this.edges) Object.assign(edge, { cutOffUntil: 0, unheardUntil: 0, lagUntil: 0 });
  }

  async #invokeForMachine(name: FunctionName, payload: unknown): Promise<unknown> {
    if (!functionNames.includes(name)) return {}; // failover is not simulated here
    try {
      const result = JSON.parse(JSON.stringify((await this.#lambda.invoke(name, payload)) ?? null)) as unknown;
      if (name === "admit-tenants" && (result as { deferred: number }).deferred > 0)
        this.#reached.note("a batch needs another attempt");
      return result;
    } catch (error) {
      throw new StatesError((error as Error).name, (error as Error).message);
    }
  }

  #wrote(table: string, old: Item | undefined, now: Item | undefined): void {
    const item = (now ?? old)!;
    if (table === tables.tenants) return this.#stream.write(String(item.tenantId), now);
    if (table === tables.reports) return this.#reports.write(String(item.id), now);
    if (table === tables.rollouts) {
      if (item.sk === "TURN") this.#reached.note("a tenant's writes wait for their turn");
      return;
    }
    if (item.sk === "COMMIT") this.#schedule.note(`commit ${String(item.pk)} ${String(item.generation)}`);
    this.#reached.wrote(old, now);
    this.#watch.wrote(old, now);
  }

  #poll(edge: SimulatedEdge): void {
    const { now } = this.#schedule;
    if (this.#services.isOut(edge.region) || edge.cutOffUntil > now || edge.lagUntil > now) return;
    if (!edge.pull((region, key) => this.#services.object(region, key), this.#services.keys)) return;
    try {
      this.#watch.served();
    } catch (error) {
      this.#schedule.fail(error);
    }
    this.#report(edge);
  }

  /** Writes its report, now and then one with a lie, unless it is unheard. Some deliveries come again, up to 20 s later. */
  #report(edge: SimulatedEdge): void {
    const { now, random } = this.#schedule;
    if (edge.unheardUntil > now) return;
    const Item = edge.report(Date.now());
    if (now < troubleMs && random.chance(0.02)) {
      const lie = { ...(JSON.parse(Item.report) as EdgeReport), appliedGeneration: 1_000_000, changedAt: 1 };
      this.tables.send("PutCommand", { TableName: tables.reports, Item: { ...Item, report: JSON.stringify(lie) } });
    } else this.tables.send("PutCommand", { TableName: tables.reports, Item });
    if (now < troubleMs && random.chance(0.1))
      this.#schedule.later(random.below(20_000), () => this.#reports.redeliver(random.below(30), 5));
  }

  get readiness() {
    return this.#watch.readiness;
  }

  /** The record of each existing tenant, with its validation result. */
  records() {
    const records = this.tables.all(tables.tenants);
    return new Map(
      records.map((record) => [String(record.tenantId), { record, validated: validateRecord(record, this.fleet) }]),
    );
  }
}
