/**
 * A whole control plane in one thread and in virtual time, with the real handlers and state machines and the embedded
 * cloud's own services. Calls take effect one at a time, in an order that the seed decides. Every step checks the laws.
 */

import { validateRecord } from "../../core/admission/validate.ts";
import { summaryItemOf } from "../../core/edges/edge.ts";
import { Random } from "../../local/random.ts";
import { StatesError } from "../../local/services/states/expressions.ts";
import { States } from "../../local/services/states/states.ts";
import { detailTypes } from "../../schemas/events.ts";
import type { Fleet } from "../../schemas/fleet.ts";
import { acceleratorLimits, edgeLimits, snapshotLimits } from "../../schemas/limits.ts";
import { converged, outlived } from "./convergence.ts";
import type { SimulatedEdge } from "./edges.ts";
import type { Item } from "./expressions.ts";
import { fleetOf } from "./fleet.ts";
import { type Code, type FunctionName, giveUpMs, smallLeafBytes } from "./functions.ts";
import { Instances } from "./instances.ts";
import { SimulatedLambda } from "./lambda.ts";
import { Breach, summariesIn } from "./laws.ts";
import { definitionOf, machineArn } from "./machines.ts";
import { Monitors } from "./monitors.ts";
import { PlatformTeam } from "./platform-team.ts";
import { type RareState, Reached } from "./reached.ts";
import { Schedule } from "./schedule.ts";
import { type Script, troubleMs } from "./script.ts";
import { account, Services, tables } from "./services.ts";
import { Stream } from "./stream.ts";
import type { Tables } from "./table.ts";
import { regions, Trouble } from "./trouble.ts";
import { Watch } from "./watch.ts";

const home = regions[0]!;
/** Time limit for convergence after the last fault. */
const healMs = 30 * 60_000;
/** More often than in a deployment, so that the simulation covers what takes hours there. */
const auditMs = 100_000;
/** Between two health checks of the accelerator. */
const checkMs = 1000 * acceleratorLimits.healthCheckSeconds;

// As in the bundles: the laws are checked in this thread.
Object.assign(snapshotLimits, { leafBytesMax: smallLeafBytes });
Object.assign(edgeLimits, { giveUpMs });

export interface Outcome {
  breach: string | undefined;
  history: string[];
  /** Calls that functions made. */
  calls: number;
  reached: Map<RareState, number>;
}

export class Simulation {
  readonly fleet: Fleet;
  readonly instances: Instances;
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
  readonly #trouble: Trouble;
  #ids = 0;

  constructor(script: Script, code: Code) {
    this.#script = script;
    this.#schedule = new Schedule(new Random(script.seed ^ 0x5eed));
    this.fleet = fleetOf(
      regions,
      (script.seed % 3 === 0 ? ["c1", "c2"] : ["c1"]).map((name) => ({ name, portCount: 4, tlsCount: 5 })),
    );
    this.instances = new Instances(this.#schedule, {
      fetch: (region, key) => this.#services.object(region, key),
      keys: () => this.#services.keys,
      isOut: (region) => this.#services.isOut(region),
      write: (Item) => this.tables.send("PutCommand", { TableName: tables.reports, Item }),
      redeliver: (back, count) => this.#reports.redeliver(back, count),
      say: ({ edgeId }, state) =>
        this.#toFailover("EC2 Instance State-change Notification", { "instance-id": edgeId, state }, "aws.ec2"),
      seenDead: (edgeId) => this.#services.accelerator.seenDead(edgeId),
      changed: () => this.#served(),
      reached: (state) => this.#reached.note(state),
    });
    this.#services = new Services(this.#schedule, this.fleet, this.instances.all, () => this.#states.service());
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
      edges: () => this.instances.edges.filter((edge) => this.#mayHaveUsers(edge)),
      ledger: (pk, sk) => this.tables.item(tables.ledger, pk, sk),
      object: (key) => this.#services.object(home, key),
      versions: (tenantId) => this.#stream.records.filter(({ key }) => key === tenantId).map(({ image }) => image),
      now: () => this.#schedule.now,
      reached: (state) => this.#reached.note(state),
    });
    const monitors = new Monitors(this.#schedule, (event) => {
      if (event.health === "degraded") this.#services.accelerator.accuse(event.edgeId ?? event.region);
      this.#toFailover(detailTypes.edgeHealth, event);
    });
    const team = new PlatformTeam(this.#schedule, code, this.#services, {
      watch: this.#watch,
      reached: (state) => this.#reached.note(state),
      rebuilt: () => monitors.sayAgain(),
    });
    this.#trouble = new Trouble({
      fleet: this.fleet,
      schedule: this.#schedule,
      services: this.#services,
      lambda: this.#lambda,
      instances: this.instances,
      watch: this.#watch,
      stream: this.#stream,
      monitors,
      team,
      start: (machine) => this.#schedules(machine),
    });
    this.tables.onWrite = (table, old, now) => this.#wrote(table, old, now);
    this.#services.onRare = (state) => this.#reached.note(state);
    this.#lambda.onFailure = (fn, name) => this.#reached.failed(fn, name);
    this.#services.accelerator.onWrite = (group) => this.#reached.group(group);
    this.#services.onEvent = (detailType, detail) => {
      this.#watch.announced(detailType, detail);
      if (detailType === detailTypes.edgeReadiness) this.#toFailover(detailType, detail);
    };
    this.#services.onTerminate = (edgeId) => {
      this.#reached.note("a silent edge is given up");
      this.instances.terminate(this.instances.all.find((edge) => edge.edgeId === edgeId)!);
    };
    this.#states = new States({
      account,
      transitionMs: 5,
      invoke: (_, name, payload) => this.#invokeForMachine(name as FunctionName, payload),
      onFailed: ({ identity, error }) => this.#schedule.note(`execution ${identity.name} failed: ${error}`),
    });
    for (const machine of ["tenant-rollout", "reconcile", "audit", "failover"])
      this.#states.createMachine(home, machine, `arn:aws:iam::${account}:role/r`, definitionOf(machine));
  }

  /** An edge that the accelerator has not had yet has no users, while the ledger does not know it or waits for it to catch up. */
  #mayHaveUsers({ edgeId, cell }: SimulatedEdge): boolean {
    const { listenerArn } = this.fleet.cells.find(({ name }) => name === cell)!;
    if (this.#services.accelerator.groupsOf(listenerArn).some(({ endpoints }) => endpoints.has(edgeId))) return true;
    const item = this.tables.item(tables.ledger, `EDGES#${cell}#${summaryItemOf(edgeId)}`, "EDGES");
    const known = summariesIn(item).find((edge) => edge.edgeId === edgeId);
    return known !== undefined && known.joinsFrom === undefined;
  }

  /** Runs the script, heals everything, and waits for the desired state. */
  async run(): Promise<Outcome> {
    const schedule = this.#schedule;
    const globals = globalThis as { simulatedImages?: unknown };
    globals.simulatedImages = (ids: string[], sequences: string[]) => this.#stream.images(ids, sequences);
    try {
      this.#begin();
      await schedule.run(troubleMs, () => false);
      this.#trouble.end();
      const healed = schedule.now;
      const left = () => {
        const kept = outlived(this);
        if (kept.length > 0) return `law 12: ${kept.slice(0, 4).join("; ")}`;
        const faults = converged(this);
        return faults.length > 0 ? `law 7: not as desired: ${faults.slice(0, 4).join("; ")}` : undefined;
      };
      const atRest = () => schedule.now - healed > 60_000 && left() === undefined;
      if (!(await schedule.run(healed + healMs, atRest)))
        schedule.fail(new Breach(`${left()}, ${healMs / 60_000} minutes after the last fault`));
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
    for (const happening of this.#script.happenings) this.#trouble.plan(happening);
    for (const { name } of this.fleet.cells)
      for (const [number, region] of [home, "eu-west-3", "eu-west-3"].entries())
        this.instances.launch(name, region, number);
    this.#schedules("reconcile");
    setInterval(() => this.#schedules("reconcile"), 60_000);
    setInterval(() => this.#schedules("audit"), auditMs);
    setInterval(() => this.#services.accelerator.check(), checkMs);
  }

  #schedules(machine: "reconcile" | "audit"): void {
    this.#start(machine, { cells: this.fleet.cells.map(({ name }) => name) });
  }
  #start(machine: string, input: object): void {
    this.#states.startExecution(machineArn(machine), `${machine}-${this.#ids++}`, JSON.stringify(input));
  }

  /** The bus delivers an event at least once, and later than it came. Its time has whole seconds. */
  #toFailover(detailType: string, detail: unknown, source = "landfall"): void {
    const { random } = this.#schedule;
    const time = new Date(Date.now() - (Date.now() % 1000)).toISOString();
    const deliver = () => this.#start("failover", { source, "detail-type": detailType, detail, time });
    this.#schedule.later(random.below(1500), deliver);
    if (this.instances.liesAndRepeats && random.chance(0.1)) this.#schedule.later(random.below(20_000), deliver);
  }

  async #invokeForMachine(name: FunctionName, payload: unknown): Promise<unknown> {
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
    if (item.sk === "EDGES") for (const edge of summariesIn(now)) this.#services.accelerator.wrote(edge);
    this.#watch.wrote(old, now);
  }

  #served(): void {
    try {
      this.#watch.served();
    } catch (error) {
      this.#schedule.fail(error);
    }
  }

  get edges() {
    return this.instances.edges;
  }
  get accelerator() {
    return this.#services.accelerator;
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
