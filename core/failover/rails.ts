/**
 * Rails: what failover never does, whatever it believes. Each takes what is wanted and gives back what may be, with what it
 * held and why. They run in this order; the last ones see what the others left. Pure.
 */
import { acceleratorLimits } from "../../schemas/limits.ts";
import type { Belief, RegionBelief } from "./beliefs.ts";
import {
  type Endpoint,
  endpointsIn,
  fullDial,
  fullWeight,
  type Model,
  type Observed,
  takersIn,
  withDials,
  withWeights,
} from "./model.ts";
import { type Pin, pinOf } from "./pins.ts";

export interface RailFacts {
  observed: Observed;
  beliefs: Belief[];
  regions: RegionBelief[];
  pins: Pin[];
  armed: boolean;
  /** Withdrawals by opinion of the last hour, and how many may be. */
  withdrawals: number;
  withdrawalsMax: number;
  now: number;
}

export interface Held {
  rail: string;
  /** The edge, the region, or the cell. */
  target: string;
  why: string;
}

interface Railed {
  model: Model;
  held: Held[];
}

export type Rail = (model: Model, facts: RailFacts) => Railed;

/** These edges keep the weights that they have. */
function keepWeights(model: Model, { observed }: RailFacts, edges: string[]): Model {
  const present = endpointsIn(observed);
  return withWeights(model, (edgeId) => (edges.includes(edgeId) ? present.get(edgeId)?.weight : undefined));
}

const keepDials = (model: Model, { observed }: RailFacts, regions: string[]): Model =>
  withDials(model, (region) =>
    regions.includes(region) ? observed.groups.find((group) => group.region === region)?.dial : undefined,
  );

const hold = (rail: string, targets: string[], why: string): Held[] => targets.map((target) => ({ rail, target, why }));

/** Edges that would lose their new users only because a monitor or neighbours say so. */
function edgesOut(model: Model, { beliefs, observed, pins, now }: RailFacts): string[] {
  const present = endpointsIn(observed);
  const wanted = endpointsIn(model);
  return beliefs
    .filter(({ by }) => by === "monitor" || by === "neighbours")
    .map(({ edgeId }) => edgeId)
    .filter((id) => (present.get(id)?.weight ?? 0) > 0 && wanted.get(id)?.weight === 0)
    .filter((id) => pinOf(pins, "edge", id, now) === undefined);
}

/** Regions that would lose theirs only because a monitor says so. */
function regionsOut(model: Model, { regions, observed, pins, now }: RailFacts): string[] {
  const dialOf = new Map(observed.groups.map(({ region, dial }) => [region, dial]));
  const wanted = new Map(model.groups.map(({ region, dial }) => [region, dial]));
  return regions
    .filter(({ state }) => state === "down")
    .map(({ region }) => region)
    .filter((region) => (dialOf.get(region) ?? 0) > 0 && wanted.get(region) === 0)
    .filter((region) => pinOf(pins, "region", region, now) === undefined);
}

/** How many lose their users by this model only because of opinions. */
export const withdrawalsIn = (model: Model, facts: RailFacts): number =>
  edgesOut(model, facts).length + regionsOut(model, facts).length;

/** AWS takes ten endpoints a group: those that are there stay, the next ones wait. */
export const quota: Rail = (model, { observed }) => {
  const { endpointsMax } = acceleratorLimits;
  const present = endpointsIn(observed);
  const held: Held[] = [];
  const groups = model.groups.map((group) => {
    if (group.endpoints.length <= endpointsMax) return group;
    const isThere = ({ edgeId }: Endpoint) => present.has(edgeId);
    const order = [...group.endpoints.filter(isThere), ...group.endpoints.filter((one) => !isThere(one))];
    const rest = order.slice(endpointsMax).map(({ edgeId }) => edgeId);
    held.push(...hold("quota", rest, `${group.region} has ${endpointsMax} endpoints, as many as AWS takes`));
    return { ...group, endpoints: group.endpoints.filter(({ edgeId }) => !rest.includes(edgeId)) };
  });
  return { model: { groups }, held };
};

/** Before everything was healthy once, nobody's opinion takes anything out: what starts looks broken. */
export const armed: Rail = (model, facts) => {
  if (facts.armed) return { model, held: [] };
  const edges = edgesOut(model, facts);
  const regions = regionsOut(model, facts);
  const why = "not every edge was healthy yet since the cell began";
  return {
    model: keepDials(keepWeights(model, facts, edges), facts, regions),
    held: hold("armed", [...edges, ...regions], why),
  };
};

/** While a write is not everywhere, only withdrawals follow, unless nobody takes users. */
export const deployed: Rail = (model, facts) => {
  const { observed } = facts;
  const takers = observed.groups.flatMap((group) => takersIn(group, observed));
  if (observed.inProgress !== true || takers.length === 0) return { model, held: [] };
  const present = endpointsIn(observed);
  const why = "the accelerator is still taking the last write";
  const held: Held[] = [];
  const groups = model.groups.flatMap((group) => {
    const old = observed.groups.find(({ region }) => region === group.region);
    if (old === undefined) {
      held.push(...hold("deployed", [group.region], why));
      return [];
    }
    const isDry = takersIn({ ...old, dial: fullDial }, observed).length === 0;
    const rising = group.endpoints.filter(
      ({ edgeId, weight }) => !isDry && weight > (present.get(edgeId)?.weight ?? -1),
    );
    held.push(
      ...hold(
        "deployed",
        rising.map(({ edgeId }) => edgeId),
        why,
      ),
    );
    if (group.dial > old.dial) held.push(...hold("deployed", [group.region], why));
    const endpoints = group.endpoints.flatMap(({ edgeId, weight }) => {
      if (!rising.some((one) => one.edgeId === edgeId)) return [{ edgeId, weight }];
      const before = present.get(edgeId);
      return before === undefined ? [] : [{ edgeId, weight: before.weight }];
    });
    return endpoints.length === 0 ? [] : [{ ...group, dial: Math.min(group.dial, old.dial), endpoints }];
  });
  return { model: { groups }, held };
};

/**
 * Opinions may take out a third of a region's weight, or one edge, and one region. What is out already or still on its way back
 * is part of that, whatever the reason; what pins lower is not.
 */
export const floor: Rail = (model, facts) => {
  const { beliefs, pins, now } = facts;
  const fresh = edgesOut(model, facts);
  const known = new Map(beliefs.map((edge) => [edge.edgeId, edge]));
  const isExempt = (edgeId: string) =>
    known.get(edgeId)?.fullness !== undefined || pinOf(pins, "edge", edgeId, now) !== undefined;
  const many = model.groups.flatMap(({ endpoints }) => {
    const most = Math.max(fullWeight, (endpoints.length * fullWeight) / 3);
    const missing = endpoints
      .filter(({ edgeId }) => !fresh.includes(edgeId) && !isExempt(edgeId))
      .reduce((sum, { weight }) => sum + Math.max(0, fullWeight - weight), 0);
    const mayGo = Math.max(0, Math.floor((most - missing) / fullWeight));
    return endpoints.filter(({ edgeId }) => fresh.includes(edgeId)).slice(mayGo);
  });
  const edges = many.map(({ edgeId }) => edgeId);
  const kept = keepWeights(model, facts, edges);
  const regions = regionsOut(kept, facts);
  const isLow = ({ region, dial }: Model["groups"][number]) =>
    dial < fullDial && !regions.includes(region) && pinOf(pins, "region", region, now) === undefined;
  const more = regions.slice(kept.groups.some(isLow) ? 0 : 1);
  return {
    model: keepDials(kept, facts, more),
    held: [
      ...hold("floor", edges, "a third of its region's weight is out or on its way back: more needs a pin"),
      ...hold("floor", more, "another region is out or on its way back: a second one needs a pin"),
    ],
  };
};

/** So many withdrawals by opinion in an hour, and no more. */
export const budget: Rail = (model, facts) => {
  const left = Math.max(0, facts.withdrawalsMax - facts.withdrawals);
  const edges = edgesOut(model, facts);
  const regions = regionsOut(model, facts);
  const keptEdges = edges.slice(left);
  const keptRegions = regions.slice(Math.max(0, left - edges.length));
  const why = `${facts.withdrawalsMax} withdrawals in an hour are the most: more need a pin`;
  return {
    model: keepDials(keepWeights(model, facts, keptEdges), facts, keptRegions),
    held: hold("budget", [...keptEdges, ...keptRegions], why),
  };
};

/** Nobody's users go to edges that are nearly full. */
export const capacity: Rail = (model, facts) => {
  const full = new Set(facts.beliefs.filter(({ fullness }) => fullness !== undefined).map(({ edgeId }) => edgeId));
  const takers = model.groups.map((group) => ({ region: group.region, edges: takersIn(group, facts.observed) }));
  const isCrowded = (edges: Endpoint[]) => edges.length > 0 && edges.every(({ edgeId }) => full.has(edgeId));
  const regionOf = new Map(facts.beliefs.map(({ edgeId, region }) => [edgeId, region]));
  const keptEdges = edgesOut(model, facts).filter((edgeId) =>
    isCrowded(takers.find(({ region }) => region === regionOf.get(edgeId))?.edges ?? []),
  );
  const others = (region: string) => takers.filter((one) => one.region !== region).flatMap(({ edges }) => edges);
  const keptRegions = regionsOut(model, facts).filter((region) => isCrowded(others(region)));
  return {
    model: keepDials(keepWeights(model, facts, keptEdges), facts, keptRegions),
    held: hold("capacity", [...keptEdges, ...keptRegions], "those that would take its users are nearly full"),
  };
};

/**
 * A degraded edge is better than none. If no healthy one would have weight, those that have it keep it; if none has, all that
 * live get it.
 */
export const lastEdge: Rail = (model, facts) => {
  const { observed, beliefs } = facts;
  const isServed = (some: Model) =>
    withDials(some, () => fullDial).groups.some((group) => takersIn(group, observed).length > 0);
  if (isServed(model)) return { model, held: [] };
  const present = endpointsIn(observed);
  const wanted = endpointsIn(model);
  const why = "no edge would be left";
  const leaving = [...present.values()]
    .filter(({ edgeId, weight, health }) => health === "HEALTHY" && weight > 0 && wanted.get(edgeId)?.weight === 0)
    .map(({ edgeId }) => edgeId);
  if (leaving.length > 0) return { model: keepWeights(model, facts, leaving), held: hold("last edge", leaving, why) };
  const gone = new Set(beliefs.filter((edge) => edge.gone).map(({ edgeId }) => edgeId));
  const live = withWeights(model, (edgeId) => {
    if (gone.has(edgeId)) return undefined;
    return present.get(edgeId)?.health === "UNHEALTHY" ? present.get(edgeId)!.weight || fullWeight : fullWeight;
  });
  const wasOut = beliefs.some(({ edgeId, state }) => state === "down" && !gone.has(edgeId) && present.has(edgeId));
  return { model: live, held: wasOut ? hold("last edge", ["the cell"], `${why}: all that live take users`) : [] };
};

/** The same for regions: those with a dial keep it, or all get one. */
export const lastRegion: Rail = (model, facts) => {
  const { observed } = facts;
  const isServed = (some: Model) => some.groups.some((group) => takersIn(group, observed).length > 0);
  if (isServed(model)) return { model, held: [] };
  const why = "no region would be left";
  const dialOf = new Map(observed.groups.map(({ region, dial }) => [region, dial]));
  const regions = model.groups.flatMap(({ region, dial }) =>
    dial === 0 && (dialOf.get(region) ?? 0) > 0 ? [region] : [],
  );
  const kept = keepDials(model, facts, regions);
  if (isServed(kept)) return { model: kept, held: hold("last region", regions, why) };
  const isLow = model.groups.some(({ dial }) => dial < fullDial);
  const open = withDials(model, () => fullDial);
  return { model: open, held: isLow ? hold("last region", ["the cell"], `${why}: all dials are full`) : [] };
};

const rails: Rail[] = [quota, armed, deployed, floor, budget, capacity, lastEdge, lastRegion];

export function withinRails(wanted: Model, facts: RailFacts): Railed {
  return rails.reduce<Railed>(
    ({ model, held }, rail) => {
      const next = rail(model, facts);
      return { model: next.model, held: [...held, ...next.held] };
    },
    { model: wanted, held: [] },
  );
}
