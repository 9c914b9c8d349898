/**
 * A cell on a simulated clock, for stories: edges, the accelerator with its health check, and failover's own decisions. What
 * users get follows from the accelerator's documented routing rules.
 */
import type { InstanceSignal } from "../../core/failover/beliefs.ts";
import { written } from "../../core/failover/changes.ts";
import { decide, type FailoverState, firstState, type Mode } from "../../core/failover/decide.ts";
import { groupSettings, listenerPorts } from "../../core/failover/drift.ts";
import type { Observed } from "../../core/failover/model.ts";
import { type Pin, pinFault } from "../../core/failover/pins.ts";
import { concerns, type DecisionRecord, inWords, recordOf } from "../../core/failover/record.ts";
import { route } from "../../local/network/routing.ts";
import { acceleratorLimits, edgeLimits, failoverLimits } from "../../schemas/limits.ts";
import type { Fullness } from "../../schemas/report.ts";
import { edge as summary } from "../fixtures/edge.ts";
import { cell as someCell } from "../fixtures/fleet.ts";

/** Where users are, and which regions are near them, the nearest first. */
const cities: Record<string, string[]> = {
  seattle: ["us-west-2", "eu-west-3", "ap-northeast-1"],
  paris: ["eu-west-3", "us-west-2", "ap-northeast-1"],
  tokyo: ["ap-northeast-1", "us-west-2", "eu-west-3"],
};

interface Edge {
  id: string;
  region: string;
  /** It accepts connections and forwards them. */
  lives: boolean;
  forwards: boolean;
  /** Its own word. */
  serving: boolean;
  /** Whether its reports arrive. */
  reports: boolean;
  fullness?: Fullness | undefined;
  reportedAt: number;
}

const start = Date.parse("2026-01-01T00:00:00Z");
const second = 1000;
const checkMs = acceleratorLimits.healthCheckSeconds * second;

export class World {
  #now = start;
  #nextLook = start;
  readonly #edges: Edge[] = [];
  #observed: Observed = { groups: [], enabled: true };
  #state: FailoverState = firstState;
  #mode: Mode = "enforce";
  #isOn = true;
  #pins: Pin[] = [];
  #signals = new Map<string, { region: string; edgeId?: string; health: "healthy" | "degraded"; at: number }>();
  #instances = new Map<string, InstanceSignal>();
  readonly #records: DecisionRecord[] = [];
  #told = 0;

  /** Carries out a command. Returns what it prints. */
  run(command: string): string[] {
    const [verb = "", ...rest] = command.split(/\s+/);
    const said = this.#command(verb, rest, command);
    return [...said, ...this.#news()];
  }

  #command(verb: string, rest: string[], command: string): string[] {
    const [what = "", ...more] = rest;
    if (verb === "fleet") return this.#begin(Number(what), more);
    if (verb === "wait") return this.#wait(secondsOf(what));
    if (verb === "users") return this.#users();
    if (verb === "status") return this.#status();
    if (verb === "explain") return this.#explain(what, more[0]);
    if (verb === "monitor") return this.#monitor(what, more);
    if (verb === "mode") return this.#set(() => (this.#mode = what as Mode));
    if (verb === "failover") return this.#set(() => (this.#isOn = what === "on"));
    if (verb === "pin" || verb === "unpin") return this.#pin(verb, what, more);
    if (verb === "somebody") return this.#somebody(rest);
    if (verb === "every") return this.#each(this.#edges, rest.slice(1));
    const edge = this.#edges.find(({ id }) => id === verb);
    if (edge !== undefined) return this.#each([edge], rest);
    if (cities[verb] === undefined && this.#edges.some(({ region }) => region === verb))
      return this.#each(
        this.#edges.filter(({ region }) => region === verb),
        rest,
      );
    throw new Error(`not a command: ${command}`);
  }

  #set(change: () => void): string[] {
    change();
    this.#evaluate();
    return [];
  }

  #begin(perRegion: number, regions: string[]): string[] {
    for (const region of regions)
      for (let number = 1; number <= perRegion; number++)
        this.#edges.push({
          id: `${region}/${number}`,
          region,
          lives: true,
          forwards: true,
          serving: true,
          reports: true,
          reportedAt: this.#now,
        });
    this.#observed.ports = listenerPorts(this.#cell);
    return [];
  }

  get #cell() {
    return { ...someCell, regions: [...new Set(this.#edges.map(({ region }) => region))] };
  }

  #each(edges: Edge[], [verb = "", word]: string[]): string[] {
    for (const edge of edges) {
      if (verb === "dies") edge.lives = false;
      else if (verb === "lives") Object.assign(edge, { lives: true, forwards: true, serving: true, reports: true });
      else if (verb === "swallows")
        edge.forwards = false; // accepts, and forwards nothing
      else if (verb === "drains") edge.serving = false;
      else if (verb === "returns") edge.serving = true;
      else if (verb === "silent") edge.reports = false;
      else if (verb === "is" && (word === "tight" || word === "full")) edge.fullness = word;
      else if (verb === "is" && word === "roomy") edge.fullness = undefined;
      else if (verb === "is") this.#instance(edge, word ?? "");
      else throw new Error(`an edge can't ${verb}`);
      if (edge.lives && edge.reports && verb !== "silent") edge.reportedAt = this.#now;
    }
    // What an edge says of itself, and what EC2 says of its instance, starts an evaluation. A death says nothing.
    if (!/^(dies|swallows|silent)$/.test(verb)) this.#evaluate();
    return [];
  }

  #instance(edge: Edge, state: string): void {
    if (state === "terminated" || state === "stopped") edge.lives = false;
    this.#instances.set(edge.id, { edgeId: edge.id, state, at: this.#now });
  }

  #monitor(target: string, [health = ""]: string[]): string[] {
    const targets = target === "every-edge" ? this.#edges.map(({ id }) => id) : [target];
    for (const one of targets) {
      const edge = this.#edges.find(({ id }) => id === one);
      const signal = { region: edge?.region ?? one, ...(edge === undefined ? {} : { edgeId: edge.id }) };
      this.#signals.set(one, { ...signal, health: health as "healthy", at: this.#now });
    }
    this.#evaluate();
    return [];
  }

  #pin(verb: string, target: string, [value = "0", time = "1h"]: string[]): string[] {
    this.#pins = this.#pins.filter((pin) => pin.target !== target);
    if (verb === "pin") {
      const kind = this.#edges.some(({ id }) => id === target) ? ("edge" as const) : ("region" as const);
      const until = this.#now + secondsOf(time) * second;
      const pin: Pin = { kind, target, value: Number(value), at: this.#now, until, by: "ops", why: "a story" };
      const fault = pinFault(pin);
      if (fault !== undefined) return [fault];
      this.#pins.push(pin);
    }
    this.#evaluate();
    return [];
  }

  /** What people do in the console. */
  #somebody([verb = "", target = "", value = ""]: string[]): string[] {
    const { groups } = this.#observed;
    if (verb === "disables") this.#observed.enabled = false;
    else if (verb === "deletes")
      this.#observed.groups = groups.filter(({ region }) => target !== "every-group" && region !== target);
    else if (verb === "weighs")
      for (const group of groups)
        for (const endpoint of group.endpoints) if (endpoint.edgeId === target) endpoint.weight = Number(value);
    if (verb === "adds")
      groups.find(({ region }) => region === value)?.endpoints.push({ edgeId: target, weight: 128, health: "HEALTHY" });
    return [];
  }

  #wait(seconds: number): string[] {
    for (let passed = 0; passed < seconds; passed++) {
      this.#now += second;
      if ((this.#now - start) % edgeLimits.reportEveryMs === 0)
        for (const edge of this.#edges) if (edge.lives && edge.reports) edge.reportedAt = this.#now;
      if ((this.#now - start) % checkMs === 0) this.#check();
      if (this.#now >= this.#nextLook) this.#evaluate();
    }
    return [];
  }

  #check(): void {
    for (const { endpoints } of this.#observed.groups)
      for (const endpoint of endpoints) {
        const edge = this.#edges.find(({ id }) => id === endpoint.edgeId);
        endpoint.health = edge?.lives && edge.serving ? "HEALTHY" : "UNHEALTHY";
      }
  }

  /** As the functions do it: look, decide, write, and look again at once; later when something is due, or with the minute. */
  #evaluate(): void {
    if (!this.#isOn) return;
    for (let look = 0; look < 8; look++) {
      const decision = decide(this.#facts());
      const { changes, unwritten, repairs, isNews } = decision;
      const before = this.#observed;
      for (const change of changes) this.#write(change.region, written(this.#observed, change));
      if (repairs.some(({ kind }) => kind === "enable")) this.#observed.enabled = true;
      const facts = { cell: "c1", at: this.#now, mode: this.#mode, observed: before, pins: this.#pins };
      if (changes.length > 0 || decision.state.held !== this.#state.held)
        this.#records.push(recordOf(facts, decision, [...changes, ...unwritten], repairs));
      this.#state = decision.state;
      const { lookMs } = failoverLimits;
      const minute = start + Math.ceil((this.#now + 1 - start) / (60 * second)) * 60 * second;
      this.#nextLook = Math.min(
        minute,
        Math.max(this.#now + second, Math.min(decision.dueAt ?? minute, this.#now + lookMs)),
      );
      if (changes.length === 0 && !isNews) return;
    }
  }

  #write(region: string, { groups }: Observed): void {
    const settings = groupSettings(this.#cell);
    this.#observed = {
      ...this.#observed,
      groups: groups.map((group) => (group.region === region ? { ...group, arn: `arn:${region}`, settings } : group)),
    };
  }

  #facts() {
    const edges = this.#edges.map(({ id, region, serving, fullness, reportedAt }) =>
      summary(id, { region, serving, reportedAt, edgeAt: reportedAt, ...(fullness === undefined ? {} : { fullness }) }),
    );
    return {
      edges,
      signals: [...this.#signals.values()],
      instances: [...this.#instances.values()],
      observed: structuredClone(this.#observed),
      state: this.#state,
      pins: this.#pins.filter(({ until }) => this.#now < until),
      mode: this.#mode,
      cell: this.#cell,
      repair: true,
      soakSeconds: 60,
      withdrawalsMax: 12,
      now: this.#now,
    };
  }

  /** What was decided since the last command, with its time. */
  #news(): string[] {
    const news = this.#records.slice(this.#told);
    this.#told = this.#records.length;
    return news.flatMap((record) =>
      inWords(record)
        .filter((line) => !/is believed|is pinned/.test(line))
        .map((line) => `${clockOf(record.at)}  ${line}`),
    );
  }

  #explain(target: string, name?: string): string[] {
    const subject = name ?? target;
    const last = this.#records.findLast((record) => concerns(record, subject));
    if (last === undefined) return [`no decision about ${subject} is on record`];
    return [`${clockOf(last.at)}:`, ...inWords(last, subject).map((line) => `  ${line}`)];
  }

  #status(): string[] {
    return this.#observed.groups.map(
      ({ region, dial, endpoints }) =>
        `${region} ${dial} %: ${endpoints.map(({ edgeId, weight, health }) => `${edgeId.split("/")[1] ?? edgeId} ${weight} ${health}`).join(", ")}`,
    );
  }

  /** Where each city's new connections land, and how many of them fail. */
  #users(): string[] {
    return Object.entries(cities).map(([city, near]) => {
      const shares = new Map<string, number>();
      const [flows, draws] = [64, 20];
      for (let flow = 0; flow < flows; flow++)
        for (let draw = 0; draw < draws; draw++) {
          const place = this.#landing(near, (flow + 0.5) / flows, (draw + 0.5) / draws);
          shares.set(place, (shares.get(place) ?? 0) + 100 / (flows * draws));
        }
      const parts = [...shares]
        .sort(([, a], [, b]) => b - a)
        .map(([place, share]) => `${place} ${Math.round(share)} %`);
      return `${city}: ${parts.join(", ")}`;
    });
  }

  #landing(near: string[], flow: number, draw: number): string {
    if (this.#observed.enabled === false) return "nowhere";
    const groups = this.#observed.groups.map(({ region, dial, endpoints }) => ({
      region,
      dial,
      endpoints: endpoints.map(({ edgeId, weight, health }) => ({
        id: edgeId,
        address: "",
        weight,
        healthy: health === "HEALTHY",
      })),
    }));
    const landed = route(groups, (region) => near.indexOf(region), flow, draw);
    const edge = this.#edges.find(({ id }) => id === landed?.endpoint.id);
    return edge?.lives && edge.forwards ? edge.region : "nowhere";
  }
}

const secondsOf = (text: string): number => {
  const [, count, unit = "s"] = /^(\d+)(s|m|h)$/.exec(text) ?? [];
  return Number(count) * { s: 1, m: 60, h: 3600 }[unit]!;
};

const clockOf = (at: number) => new Date(at).toISOString().slice(11, 19);
