/**
 * Two publishers, two tenants and one edge: one run of it, along a path of choices. Nothing is random in it, and time goes
 * on only when no step is ready.
 */
import { admittedRoutes, type TenantRow } from "../../core/admission/tenant-row.ts";
import { canonicalJson } from "../../core/canonical.ts";
import { Random } from "../../local/random.ts";
import { SimulatedEdge } from "./edges.ts";
import { fleetOf } from "./fleet.ts";
import type { Code, FunctionName } from "./functions.ts";
import { SimulatedLambda } from "./lambda.ts";
import { Breach } from "./laws.ts";
import { Schedule } from "./schedule.ts";
import { Services, tables } from "./services.ts";
import { Watch } from "./watch.ts";

const home = "us-west-2";
const cell = "c1";
const minuteMs = 60_000;

class Steady extends Random {
  override chance = () => false;
}

/** What happens to a publisher at one of its calls. `skip` calls of publishers succeed first. */
export type Fault =
  /** It dies before or after the call takes effect. */
  | { kind: "crash"; skip: number; effect: boolean }
  /** The call takes longer than a lease lasts. */
  | { kind: "stall"; skip: number };

const stalledMs = 40_000;
/** When another publisher comes: after a lease. */
const laterMs = 20_000;

/** How many steps were ready at a choice, and which one was taken. */
export interface Choice {
  options: number;
  taken: number;
}

export interface SmallRun {
  breach: string | undefined;
  history: string[];
  choices: Choice[];
  /** Calls that publishers made while the choices were free. */
  calls: number;
}

export async function runSmall(path: number[], fault: Fault | undefined, code: Code): Promise<SmallRun> {
  const world = new SmallWorld(path, code);
  return world.run(fault);
}

class SmallWorld {
  readonly #choices: Choice[] = [];
  readonly #schedule: Schedule;
  readonly #services: Services;
  readonly #lambda: SimulatedLambda;
  readonly #edge: SimulatedEdge;
  readonly #watch: Watch;
  readonly #fleet = fleetOf([home], [{ name: cell, portCount: 4, tlsCount: 5 }]);
  readonly #versions = new Map<string, (object | undefined)[]>();
  #isFree = false;
  #calls = 0;

  constructor(path: number[], code: Code) {
    const choose = (options: number) => {
      if (!this.#isFree || options === 1) return 0;
      const taken = path[this.#choices.length] ?? 0;
      this.#choices.push({ options, taken });
      return taken;
    };
    const schedule = new Schedule(new Steady(1), { tickShare: 0, choose });
    this.#schedule = schedule;
    this.#edge = new SimulatedEdge("i-1", cell, home, () => schedule.now);
    const noMachines = () => {
      throw new Error("no state machine runs here");
    };
    this.#services = new Services(schedule, this.#fleet, [this.#edge], noMachines, { staleMs: 0 });
    this.#services.carryOut = (_, perform) => {
      if (this.#isFree) this.#calls++;
      return perform();
    };
    this.#lambda = new SimulatedLambda(schedule, code, this.#services, { coldShare: 0 });
    this.#watch = new Watch({
      edges: () => [this.#edge],
      ledger: (pk, sk) => this.#services.tables.item(tables.ledger, pk, sk),
      object: (key) => this.#services.object(home, key),
      versions: (tenantId) => this.#versions.get(tenantId) ?? [],
      now: () => schedule.now,
      reached: () => {},
    });
    this.#services.tables.onWrite = (table, old, now) => {
      if (table === tables.ledger) this.#watch.wrote(old, now);
    };
  }

  async run(fault: Fault | undefined): Promise<SmallRun> {
    const schedule = this.#schedule;
    try {
      setInterval(() => {}, 1000); // time goes on
      await this.#together([this.#invoke("publish-cell", { cell })]);
      for (const [index, tenantId] of ["ash", "elm"].entries()) await this.#together([this.#write(tenantId, index)]);
      this.#isFree = true;
      if (fault?.kind === "crash") this.#lambda.arm({ at: 0, fn: "publish-cell", ...fault });
      if (fault?.kind === "stall") this.#lambda.arm({ at: 0, fn: "publish-cell", ms: stalledMs, ...fault });
      await this.#together([
        this.#invoke("publish-cell", { cell }),
        this.#invoke("publish-cell", { cell }),
        this.#write("ash", 2),
        this.#polls(3),
        this.#later(async () => {
          await this.#write("elm", 3);
          await this.#invoke("publish-cell", { cell });
          await this.#polls(1);
        }),
      ]);
      this.#isFree = false;
      this.#lambda.heal();
      await schedule.run(schedule.now + minuteMs, () => false);
      await this.#together([this.#invoke("publish-cell", { cell })]);
      await this.#together([this.#polls(1)]);
      this.#checkEnd();
    } catch (error) {
      schedule.fail(error);
    } finally {
      await schedule.stop(() => this.#lambda.stop());
    }
    return { breach: schedule.breach, history: schedule.history, choices: this.#choices, calls: this.#calls };
  }

  /** Waits until all are over. A failure of an invocation is no fault: the state machine would repeat it. */
  async #together(all: Promise<unknown>[]): Promise<void> {
    let isOver = false;
    void Promise.allSettled(all).then(() => {
      isOver = true;
    });
    if (!(await this.#schedule.run(this.#schedule.now + 10 * minuteMs, () => isOver)))
      throw new Breach("law 7: an invocation does not end");
  }

  #invoke(fn: FunctionName, payload: unknown): Promise<unknown> {
    return this.#lambda.invoke(fn, payload);
  }

  #later(run: () => Promise<unknown>): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#schedule.later(laterMs, () => void run().then(resolve, reject));
    });
  }

  /** A tenant's record, and its admission. */
  async #write(tenantId: string, number: number): Promise<void> {
    const protocols = { tls: 3000, ...(number === 2 ? {} : { ssh: 3001 }) };
    const backends = { [home]: [`10.0.0.${number + 1}`] };
    const record = { tenantId, hostnames: [`${tenantId}.tenants.example.com`], homeRegion: home, protocols, backends };
    this.#versions.set(tenantId, [...(this.#versions.get(tenantId) ?? []), record]);
    this.#services.tables.send("PutCommand", { TableName: tables.tenants, Item: record });
    const batchId = `b-${number}`;
    const Item = { pk: `BATCH#${batchId}`, sk: "BATCH", tenantIds: [tenantId], sequences: [""], startedAt: Date.now() };
    this.#services.tables.send("PutCommand", { TableName: tables.rollouts, Item });
    await this.#invoke("admit-tenants", { batchId });
  }

  #polls(times: number): Promise<void> {
    return new Promise((resolve) => {
      const poll = (left: number) => {
        if (left === 0) return resolve();
        this.#edge.pull((region, key) => this.#services.object(region, key), this.#services.keys);
        try {
          this.#watch.served();
        } catch (error) {
          this.#schedule.fail(error);
        }
        this.#schedule.later(0, () => poll(left - 1));
      };
      this.#schedule.later(0, () => poll(times));
    });
  }

  #checkEnd(): void {
    const items = this.#services.tables.all(tables.ledger);
    const rows = items.filter(({ sk }) => sk === "ROW").map(({ row }) => row as TenantRow);
    const wanted = rows.flatMap((row) => admittedRoutes(row, this.#fleet.cells[0]!));
    const inOrder = (routes: { slot: number }[]) => canonicalJson(routes.toSorted((a, b) => a.slot - b.slot));
    if (rows.length < 2 || inOrder(wanted) !== inOrder(this.#edge.routes))
      throw new Breach("law 7: the edge does not serve what was admitted");
    if (items.some(({ pk }) => String(pk).startsWith("DIRTY#"))) throw new Breach("law 7: work is left");
  }
}
