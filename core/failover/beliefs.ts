/**
 * What is believed of each edge and region, and the signs for it. Each source is believed for what it can know: an edge about
 * itself, EC2 about its instance, the accelerator about whom it reaches, a monitor about what it saw lately. Silence is no
 * sign. Pure; times in milliseconds since 1970.
 */
import { failoverLimits } from "../../schemas/limits.ts";
import { neighboursOf } from "../../schemas/neighbours.ts";
import type { Fullness } from "../../schemas/report.ts";
import { type EdgeSummary, isGone, isReady, isRecent, isUnheard, placesOf } from "../edges/edge.ts";
import { endpointsIn, type Observed } from "./model.ts";

export interface HealthSignal {
  region: string;
  edgeId?: string | undefined;
  health: "healthy" | "degraded";
  at: number;
  reason?: string | undefined;
}

/** What EC2 last said of an instance; `refused`: Global Accelerator says that there is no such endpoint. */
export interface InstanceSignal {
  edgeId: string;
  state: string;
  at: number;
}

/** What one source says. */
export interface Sign {
  source: "accelerator" | "report" | "monitor" | "EC2" | "neighbours";
  says: string;
  at?: number;
}

export interface Belief {
  edgeId: string;
  region: string;
  /** `suspect`: signs disagree. `unknown`: no sign of late, and nothing is done for that. */
  state: "serving" | "suspect" | "down" | "unknown";
  /** Who says that it is down. Its own word and EC2's are facts; a monitor's and neighbours' are opinions, which rails limit. */
  by?: "itself" | "EC2" | "monitor" | "neighbours";
  /** It may be added: a recent report says that it serves. */
  ready: boolean;
  /** Its instance is terminated, or will be. */
  gone: boolean;
  fullness?: Fullness | undefined;
  signs: Sign[];
}

export interface RegionBelief {
  region: string;
  state: "serving" | "down";
  signs: Sign[];
}

/** Signs of monitors that still count. A monitor that died takes nothing out for ever. */
const fresh = <S extends { at: number }>(signals: S[], now: number): S[] =>
  signals.filter(({ at }) => now - at <= failoverLimits.signalKeepMs);

const signOf = ({ health, reason, at }: HealthSignal): Sign => ({
  source: "monitor",
  says: reason === undefined ? health : `${health}: ${reason}`,
  at,
});

export interface Seen {
  edges: EdgeSummary[];
  signals: HealthSignal[];
  instances: InstanceSignal[];
  observed: Observed;
}

/** Beliefs about every edge that reports or that the accelerator has, in order. */
export function edgeBeliefs({ edges, signals, instances, observed }: Seen, now: number): Belief[] {
  const present = endpointsIn(observed);
  const known = new Map(edges.map((edge) => [edge.edgeId, edge]));
  const said = new Map(fresh(signals, now).map((signal) => [signal.edgeId, signal]));
  const ec2 = new Map(instances.map((instance) => [instance.edgeId, instance]));
  const watchers = watchersOf(edges, now);
  const ids = [...new Set([...known.keys(), ...present.keys()])].sort();
  return ids.map((edgeId) => {
    const edge = known.get(edgeId);
    const endpoint = present.get(edgeId);
    const signal = said.get(edgeId);
    const instance = ec2.get(edgeId);
    const seen = edge === undefined ? undefined : testimony(edge, watchers.get(edgeId) ?? []);
    const signs: Sign[] = [
      ...(endpoint === undefined ? [] : [{ source: "accelerator" as const, says: endpoint.health }]),
      ...(edge === undefined || isUnheard(edge) ? [] : [reportSign(edge)]),
      ...(signal === undefined ? [] : [signOf(signal)]),
      ...(instance === undefined ? [] : [{ source: "EC2" as const, says: instance.state, at: instance.at }]),
      ...(seen === undefined || seen.accusers === 0 ? [] : [neighbourSign(seen)]),
      ...(edge?.terminated === true ? [{ source: "EC2" as const, says: "terminated" }] : []),
      ...(edge?.givenUp === true ? [{ source: "report" as const, says: "silent for too long: it is replaced" }] : []),
    ];
    const gone =
      (edge !== undefined && isGone(edge)) || /^(shutting-down|terminated|refused)$/.test(instance?.state ?? "");
    const isRunning = instance === undefined || /^(pending|running)$/.test(instance.state);
    const base = {
      edgeId,
      region: edge?.region ?? endpoint!.region,
      ready: edge !== undefined && isReady(edge) && isRecent(edge, now) && !gone,
      gone,
      fullness: edge?.fullness,
      signs,
    };
    if (gone || !isRunning) return { ...base, state: "down", by: "EC2" };
    if (edge !== undefined && !edge.serving && !isUnheard(edge)) return { ...base, state: "down", by: "itself" };
    if (signal?.health === "degraded") return { ...base, state: "down", by: "monitor" };
    if (seen?.isGuilty) return { ...base, state: "down", by: "neighbours" };
    if (edge === undefined || isUnheard(edge) || !isRecent(edge, now)) return { ...base, state: "unknown" };
    return { ...base, state: endpoint?.health === "UNHEALTHY" ? "suspect" : "serving" };
  });
}

/** Who watches each edge and reports. Nobody is asked when nobody accuses. */
function watchersOf(edges: EdgeSummary[], now: number): Map<string, EdgeSummary[]> {
  const watchers = new Map<string, EdgeSummary[]>();
  if (edges.every(({ accuses = [] }) => accuses.length === 0)) return watchers;
  const places = placesOf(edges);
  for (const witness of edges) {
    if (isUnheard(witness) || isGone(witness) || !isRecent(witness, now)) continue;
    for (const { id } of neighboursOf({ id: witness.edgeId, region: witness.region }, places))
      watchers.set(id, [...(watchers.get(id) ?? []), witness]);
  }
  return watchers;
}

interface Testimony {
  /** How many watch it, and how many of them say that it does not forward. */
  witnesses: number;
  accusers: number;
  /** Enough of them, of enough places. */
  isGuilty: boolean;
}

/**
 * What its neighbours say of an edge. One of them never takes another out: it needs a majority of all who watch it, from two
 * regions, and of those in its own region if there are any. A region that is cut off from others accuses them, and is accused.
 */
function testimony(edge: EdgeSummary, witnesses: EdgeSummary[]): Testimony {
  const accusers = witnesses.filter(({ accuses = [] }) => accuses.includes(edge.edgeId));
  const own = (some: EdgeSummary[]) => some.filter(({ region }) => region === edge.region).length;
  const regions = new Set(accusers.map(({ region }) => region));
  const isGuilty =
    regions.size >= 2 &&
    accusers.length * 2 > witnesses.length &&
    (own(witnesses) === 0 || own(accusers) * 2 > own(witnesses));
  return { witnesses: witnesses.length, accusers: accusers.length, isGuilty };
}

const neighbourSign = ({ witnesses, accusers }: Testimony): Sign => ({
  source: "neighbours",
  says: `${accusers} of ${witnesses} that watch it get no answer through it`,
});

const reportSign = ({ serving, fullness, reportedAt }: EdgeSummary): Sign => ({
  source: "report",
  says: `${serving ? "serving" : "not serving"}${fullness === undefined ? "" : `, ${fullness}`}`,
  at: reportedAt,
});

/** Beliefs about regions as a whole: only monitors say something of them. In order. */
export function regionBeliefs({ edges, signals, observed }: Seen, now: number): RegionBelief[] {
  const said = fresh(signals, now).filter(({ edgeId }) => edgeId === undefined);
  const regions = [...edges.map(({ region }) => region), ...observed.groups.map(({ region }) => region)];
  return [...new Set(regions)].sort().map((region) => {
    const signal = said.find((one) => one.region === region);
    return {
      region,
      state: signal?.health === "degraded" ? "down" : "serving",
      signs: signal === undefined ? [] : [signOf(signal)],
    };
  });
}

/**
 * When a health event was observed: its own time, but not later than the bus got it. The bus's time has whole seconds and
 * is the same for a repeated event. A clock that runs ahead must not suppress all later signals. The function's own clock
 * counts only without the bus's time: the clocks of two invocations differ, so that the later event would look older.
 */
export function signalAt(own: number | undefined, bus: number, now: number): number {
  if (!Number.isFinite(bus)) return Math.min(own ?? now, now);
  return Math.min(own ?? bus, bus + 999);
}
