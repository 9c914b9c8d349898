/** EC2 and Auto Scaling in a simulation: edges boot, hang, come back, are terminated and replaced. They poll and report. */
import { edgeLimits } from "../../schemas/limits.ts";
import { neighboursOf } from "../../schemas/neighbours.ts";
import type { EdgeReport } from "../../schemas/report.ts";
import type { PublicKeys } from "../../schemas/signed.ts";
import { type Fetch, SimulatedEdge } from "./edges.ts";
import type { RareState } from "./reached.ts";
import type { Schedule } from "./schedule.ts";

const pollMs = 2000;
/** How long EC2 lists a terminated instance. On AWS about an hour. */
const listedMs = 10 * 60_000;

export interface InstancePorts {
  fetch: Fetch;
  keys: () => PublicKeys;
  isOut: (region: string) => boolean;
  /** Writes an item into the Reports table. */
  write: (item: object) => void;
  /** Reports are delivered again, the last ones first. */
  redeliver: (back: number, count: number) => void;
  /** EC2 says of an instance on its bus that it has another state. */
  say: (edge: SimulatedEdge, state: string) => void;
  /** Neighbours of this edge see that it forwards nothing. */
  seenDead: (edgeId: string) => void;
  /** An edge serves something else. */
  changed: () => void;
  reached: (state: RareState) => void;
}

export class Instances {
  /** Every instance that EC2 lists. */
  readonly all: SimulatedEdge[] = [];
  readonly #schedule: Schedule;
  readonly #ports: InstancePorts;
  /** Some reports say what is not true. */
  liesAndRepeats = true;

  constructor(schedule: Schedule, ports: InstancePorts) {
    this.#schedule = schedule;
    this.#ports = ports;
  }

  /** Instances that are not terminated. */
  get edges(): SimulatedEdge[] {
    return this.all.filter(({ state }) => state !== "terminated");
  }

  launch(cell: string, region: string, number: number): void {
    const edge = new SimulatedEdge(`i-${cell}-${number}`, cell, region, () => this.#schedule.now);
    this.all.push(edge);
    const jitter = this.#schedule.random.below(pollMs);
    setTimeout(() => this.#every(pollMs, edge, () => this.#poll(edge)), jitter);
    setTimeout(() => this.#every(edgeLimits.reportEveryMs, edge, () => this.#report(edge)), jitter + 500);
  }

  #every(ms: number, edge: SimulatedEdge, run: () => void): void {
    const timer = setInterval(() => {
      if (edge.state === "terminated") clearInterval(timer);
      else if (edge.hungUntil <= this.#schedule.now) run();
    }, ms);
  }

  /** It serves until it is terminated. Then Auto Scaling launches another one. */
  terminate(edge: SimulatedEdge): void {
    if (edge.state !== "running") return;
    const { random } = this.#schedule;
    this.#schedule.note(`${edge.edgeId} is terminated`);
    edge.state = "shutting-down";
    this.#say(edge);
    this.#schedule.later(random.below(30_000), () => {
      edge.end();
      this.#say(edge);
      this.#ports.reached("an instance is replaced");
      const { cell, region } = edge;
      const launch = () => this.launch(cell, region, Number(edge.edgeId.split("-").at(-1)) + 10);
      this.#schedule.later(random.between(10_000, 60_000), launch);
      setTimeout(() => this.all.splice(this.all.indexOf(edge), 1), listedMs);
    });
  }

  /** EC2's events are best effort: some never come. */
  #say(edge: SimulatedEdge): void {
    if (this.#schedule.random.chance(0.8)) this.#ports.say(edge, edge.state);
  }

  /** The neighbours that this edge gets no answer through; now and then, a liar accuses all. */
  #accusedBy(edge: SimulatedEdge): string[] {
    const { random, now } = this.#schedule;
    const watched = neighboursOf({ id: edge.edgeId, region: edge.region }, edge.manifest?.edges ?? []);
    const isLiar = edge.edgeId.endsWith("0"); // one of each cell: two that agree would be believed
    if (this.liesAndRepeats && isLiar && random.chance(0.1)) return watched.map(({ id }) => id);
    const dead = watched.filter(({ id }) => {
      const other = this.edges.find(({ edgeId }) => edgeId === id);
      return other === undefined || other.hungUntil > now;
    });
    for (const { id } of dead) this.#ports.seenDead(id);
    if (dead.length === watched.length) return [];
    if (dead.length > 0) this.#ports.reached("an edge is accused by another");
    return dead.map(({ id }) => id);
  }

  #poll(edge: SimulatedEdge): void {
    const { now } = this.#schedule;
    const { fetch, keys, isOut, changed } = this.#ports;
    if (isOut(edge.region) || edge.cutOffUntil > now || edge.lagUntil > now) return;
    if (!edge.pull(fetch, keys())) return;
    if (edge.rejected.length > 0) this.#ports.reached("an edge refuses a route");
    changed();
    this.#report(edge);
  }

  /** Writes its report, now and then one with a lie, unless it is unheard. Some deliveries come again, up to 20 s later. */
  #report(edge: SimulatedEdge): void {
    const { now, random } = this.#schedule;
    const { write, redeliver } = this.#ports;
    if (edge.unheardUntil > now) return;
    edge.accuses = this.#accusedBy(edge);
    const item = edge.report(Date.now());
    if (this.liesAndRepeats && random.chance(0.02)) {
      const lie = { ...(JSON.parse(item.report) as EdgeReport), appliedGeneration: 1_000_000, changedAt: 1 };
      write({ ...item, report: JSON.stringify(lie) });
    } else write(item);
    if (this.liesAndRepeats && random.chance(0.1))
      this.#schedule.later(random.below(20_000), () => redeliver(random.below(30), 5));
  }
}
