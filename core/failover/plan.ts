/** Failover, first version: which edges the accelerator should have, with what weight. Pure; times in milliseconds. */
import type { Fullness } from "../../schemas/report.ts";

export const fullWeight = 128;
/** Of an edge that is nearly full: a quarter of the new users of the others. */
export const tightWeight = 32;
export const fullDial = 100;

export interface EdgeFacts {
  edgeId: string;
  region: string;
  /** A recent report shows that it serves a generation and that its nginx accepts connections. */
  ready: boolean;
  /** The last health event about it. */
  health: "healthy" | "degraded";
  /** Its instance is terminated, or will be. */
  gone: boolean;
  /** Its own word that it has little room left, or none. */
  fullness?: Fullness | undefined;
}

export interface Desired {
  groups: { region: string; dial: number; endpoints: { edgeId: string; weight: number }[] }[];
  /** Changes that the policy holds back, and why. */
  held: string[];
}

export interface Observed {
  groups: {
    region: string;
    arn: string;
    dial: number;
    endpoints: { edgeId: string; weight: number; health: "INITIAL" | "HEALTHY" | "UNHEALTHY" }[];
  }[];
}

const byName =
  <T>(name: (item: T) => string) =>
  (a: T, b: T) =>
    name(a) < name(b) ? -1 : 1;

/**
 * Returns the whole list, with every weight explicit. A degraded edge gets weight 0 and a degraded region gets dial 0,
 * unless the listener would then have no endpoint that takes users: a degraded edge is better than none. An edge that is full
 * gets no new users while another one of its region has room, for other regions are farther from them. An edge that
 * is already in the accelerator stays when it stops reporting: the accelerator's own health check detects dead edges.
 */
export function planAccelerator(edges: EdgeFacts[], degradedRegions: string[], observed: Observed): Desired {
  const held: string[] = [];
  const present = new Map(
    observed.groups.flatMap((group) => group.endpoints.map((e) => [e.edgeId, { ...e, region: group.region }] as const)),
  );
  const isHealthy = ({ edgeId }: EdgeFacts) => present.get(edgeId)?.health === "HEALTHY";
  const living = edges.filter((edge) => !edge.gone && (edge.ready || present.has(edge.edgeId)));
  // One that is gone leaves in the write that keeps or adds a living edge in its group: a list without endpoints is never
  // sent, and AWS refuses one with a terminated instance. While it still takes users, another one must take them too.
  const leaves = (edge: EdgeFacts) =>
    living.some(({ region }) => region === edge.region) && (!isHealthy(edge) || living.some(isHealthy));
  const members = [...living, ...edges.filter((edge) => edge.gone && present.has(edge.edgeId) && !leaves(edge))];
  const known = new Set(members.map((edge) => edge.edgeId));
  const gone = new Set(edges.filter((edge) => edge.gone).map(({ edgeId }) => edgeId));
  for (const [edgeId, endpoint] of present)
    if (!known.has(edgeId) && !gone.has(edgeId))
      members.push({ edgeId, region: endpoint.region, ready: false, health: "healthy", gone: false });

  const unhealthy = new Set([...present].filter(([, e]) => e.health === "UNHEALTHY").map(([edgeId]) => edgeId));
  // Counts only endpoints that the accelerator reports as healthy, not edges that are about to join or do not report.
  const takesUsers = (edge: EdgeFacts) => edge.health === "healthy" && !edge.gone && isHealthy(edge);
  const withdraw = members.some(takesUsers);
  if (!withdraw && members.some((edge) => edge.health === "degraded"))
    held.push("no edge would be left: all live edges take users");

  const regions = [...new Set(members.map((edge) => edge.region))].sort();
  const carrying = regions.filter(
    (region) => !degradedRegions.includes(region) && members.some((edge) => edge.region === region && takesUsers(edge)),
  );
  const dialDown = carrying.length > 0;
  if (!dialDown && degradedRegions.some((region) => regions.includes(region)))
    held.push("no region would be left: all dials are set to 100");

  const hasRoom = (region: string) =>
    members.some((edge) => edge.region === region && edge.fullness !== "full" && takesUsers(edge));
  const weightOf = (edge: EdgeFacts) => {
    if (edge.gone) return present.get(edge.edgeId)!.weight; // nobody else is in its group, or nobody else takes users
    if (!withdraw) return unhealthy.has(edge.edgeId) ? (present.get(edge.edgeId)?.weight ?? fullWeight) : fullWeight;
    if (edge.health === "degraded") return 0;
    if (edge.fullness === undefined) return fullWeight;
    return edge.fullness === "full" && hasRoom(edge.region) ? 0 : tightWeight;
  };
  // The group of edges that are all gone keeps its dial: AWS refuses every list with a terminated instance.
  const dialOf = (region: string) => {
    const isDeserted = members.every((edge) => edge.gone || edge.region !== region);
    if (isDeserted) return observed.groups.find((group) => group.region === region)?.dial ?? fullDial;
    return dialDown && degradedRegions.includes(region) ? 0 : fullDial;
  };
  const groups = regions.map((region) => ({
    region,
    dial: dialOf(region),
    endpoints: members
      .filter((edge) => edge.region === region)
      .map((edge) => ({ edgeId: edge.edgeId, weight: weightOf(edge) }))
      .toSorted(byName((endpoint) => endpoint.edgeId)),
  }));
  return { groups, held };
}

export type Change =
  | { kind: "create"; region: string; dial: number; endpoints: { edgeId: string; weight: number }[] }
  | { kind: "update"; region: string; arn: string; dial: number; endpoints: { edgeId: string; weight: number }[] };

/** The writes that change `observed` to `desired`; empty when converged. Groups that gain capacity come first. */
export function changesBetween(desired: Desired, observed: Observed): Change[] {
  const dead = new Set(
    observed.groups.flatMap(({ endpoints }) =>
      endpoints.filter(({ health }) => health === "UNHEALTHY").map(({ edgeId }) => edgeId),
    ),
  );
  const changes = desired.groups.flatMap<Change & { gain: number }>((group) => {
    const old = observed.groups.find((candidate) => candidate.region === group.region);
    if (group.endpoints.length === 0) return [];
    const gain = load(group, dead) - (old === undefined ? 0 : load(old, dead));
    if (old === undefined) return [{ kind: "create", ...group, gain }];
    return sameGroup(old, group) ? [] : [{ kind: "update", arn: old.arn, ...group, gain }];
  });
  return changes
    .toSorted((a, b) => b.gain - a.gain || (a.region < b.region ? -1 : 1))
    .map(({ gain: _, ...change }) => change);
}

/** What the accelerator shows after the write. A new endpoint is not checked yet. */
export function written({ groups }: Observed, change: Change): Observed {
  const old = groups.find(({ region }) => region === change.region);
  const health = new Map(old?.endpoints.map((endpoint) => [endpoint.edgeId, endpoint.health]));
  const endpoints = change.endpoints.map((endpoint) => ({
    ...endpoint,
    health: health.get(endpoint.edgeId) ?? ("INITIAL" as const),
  }));
  const { region, dial } = change;
  const group = { region, dial, endpoints, arn: change.kind === "update" ? change.arn : "" };
  return { groups: [...groups.filter((other) => other !== old), group].sort(byName((one) => one.region)) };
}

/** The least that the accelerator may show after a write that failed: it may have taken effect, or take effect later. */
export function uncertain({ groups }: Observed, change: Change): Observed {
  const weights = new Map(change.endpoints.map(({ edgeId, weight }) => [edgeId, weight]));
  return {
    groups: groups.map((group) => {
      if (group.region !== change.region) return group;
      const endpoints = group.endpoints.map((one) => ({
        ...one,
        weight: Math.min(one.weight, weights.get(one.edgeId) ?? 0),
      }));
      return { ...group, dial: Math.min(group.dial, change.dial), endpoints };
    }),
  };
}

/** The load that a group can take. Unhealthy endpoints take none, whatever their weight. */
const load = (group: { dial: number; endpoints: { edgeId: string; weight: number }[] }, dead: Set<string>) =>
  group.dial * group.endpoints.reduce((sum, { edgeId, weight }) => sum + (dead.has(edgeId) ? 0 : weight), 0);

function sameGroup(
  a: { dial: number; endpoints: { edgeId: string; weight: number }[] },
  b: { dial: number; endpoints: { edgeId: string; weight: number }[] },
): boolean {
  const weights = new Map(a.endpoints.map((endpoint) => [endpoint.edgeId, endpoint.weight]));
  return (
    a.dial === b.dial &&
    weights.size === b.endpoints.length &&
    b.endpoints.every((endpoint) => weights.get(endpoint.edgeId) === endpoint.weight)
  );
}
