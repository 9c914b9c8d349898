/** What the accelerator should be, before rails: who is in it, with what weights and dials. Pure; times in ms since 1970. */
import type { Belief, RegionBelief } from "./beliefs.ts";
import { beginning, type Climb, dialSteps, follow, rise, type Step, sink, weightSteps } from "./climb.ts";
import { endpointsIn, fullDial, fullWeight, type Model, type Observed, takersIn, tightWeight } from "./model.ts";
import { type Pin, pinOf } from "./pins.ts";

export interface WantedFacts {
  beliefs: Belief[];
  regions: RegionBelief[];
  observed: Observed;
  climbs: Climbs;
  pins: Pin[];
  /** Everything was healthy once. Before, edges and regions come in at once. */
  armed: boolean;
  soakSeconds: number;
  now: number;
}

/** The ways of edges and regions, by their names. */
export interface Climbs {
  edges: Record<string, Climb>;
  regions: Record<string, Climb>;
}

export interface Wanted {
  model: Model;
  climbs: Climbs;
  /** When something is due next that no sign announces. */
  dueAt?: number;
}

export function wantedModel(facts: WantedFacts): Wanted {
  const { now } = facts;
  const members = membersOf(facts);
  const names = [...new Set(members.map(({ region }) => region))].sort();
  const edges = new Map(members.map((edge) => [edge.edgeId, edgeStep(edge, facts)]));
  const dials = new Map(names.map((region) => [region, dialStep(region, members, facts)]));
  const weightOf = (edge: Belief) => capped(edge, edges.get(edge.edgeId)!.value, facts);
  const model: Model = {
    groups: names.map((region) => ({
      region,
      dial: dials.get(region)!.value,
      endpoints: members
        .filter((edge) => edge.region === region)
        .map((edge) => ({ edgeId: edge.edgeId, weight: weightOf(edge) })),
    })),
  };
  const climbsOf = (steps: Map<string, Step>) =>
    Object.fromEntries([...steps].flatMap(([name, { climb }]) => (climb === undefined ? [] : [[name, climb]])));
  const dues = [...edges.values(), ...dials.values()].flatMap(({ dueAt }) => dueAt ?? []);
  const pinEnds = facts.pins.map(({ until }) => until).filter((until) => until > now);
  const next = [...dues, ...pinEnds].sort((a, b) => a - b)[0];
  return {
    model,
    climbs: { edges: climbsOf(edges), regions: climbsOf(dials) },
    ...(next === undefined ? {} : { dueAt: next }),
  };
}

/**
 * Edges that live and are ready or there already; and those that are gone but can't be removed yet: a list without endpoints
 * is never sent, and while such an edge takes users, another one must take them too.
 */
function membersOf({ beliefs, observed }: WantedFacts): Belief[] {
  const present = endpointsIn(observed);
  const isHealthy = ({ edgeId }: Belief) => present.get(edgeId)?.health === "HEALTHY";
  const living = beliefs.filter((edge) => !edge.gone && (edge.ready || present.has(edge.edgeId)));
  const leaves = (edge: Belief) =>
    living.some(({ region }) => region === edge.region) && (!isHealthy(edge) || living.some(isHealthy));
  return [...living, ...beliefs.filter((edge) => edge.gone && present.has(edge.edgeId) && !leaves(edge))].sort(
    (a, b) => (a.edgeId < b.edgeId ? -1 : 1),
  );
}

function edgeStep(edge: Belief, { observed, climbs, pins, armed, soakSeconds, now }: WantedFacts): Step {
  const present = endpointsIn(observed).get(edge.edgeId);
  const known = climbs.edges[edge.edgeId];
  const pin = pinOf(pins, "edge", edge.edgeId, now);
  if (edge.gone) return { value: present!.weight, climb: known };
  const climb = follow(known, wayOf(edge), now);
  if (pin !== undefined) return { value: pin.value, climb };
  if (edge.state === "down") return { value: 0, climb };
  if (present === undefined) {
    const group = observed.groups.find(({ region }) => region === edge.region);
    const isFirst = group === undefined || takersIn({ ...group, dial: fullDial }, observed).length === 0;
    if (isFirst || !armed) return { value: fullWeight, climb };
    return { value: weightSteps[0]!, climb: climb ?? beginning(now) };
  }
  if (edge.state === "unknown") return { value: present.weight, climb };
  if (edge.state === "suspect") return sink(present.weight, weightSteps, climb!, soakSeconds, now);
  if (edge.fullness !== undefined && present.weight >= tightWeight) return { value: fullWeight, climb };
  if (!armed) return { value: fullWeight, climb };
  return rise(present.weight, weightSteps, climb, soakSeconds, now);
}

/** Without a sign, an edge stays on the way that it is on. */
const wayOf = ({ state }: Belief): Climb["state"] | undefined =>
  state === "down" ? "out" : state === "unknown" ? undefined : state === "suspect" ? "suspect" : "up";

/** An edge that is full gets no new users while another one of its region has room: other regions are farther from them. */
function capped(edge: Belief, weight: number, { beliefs, observed, pins, now }: WantedFacts): number {
  const isPinned = pinOf(pins, "edge", edge.edgeId, now) !== undefined;
  if (edge.fullness === undefined || edge.gone || isPinned) return weight;
  const present = endpointsIn(observed);
  const hasRoom = beliefs.some(
    ({ edgeId, region, state, fullness }) =>
      region === edge.region &&
      state === "serving" &&
      fullness !== "full" &&
      present.get(edgeId)?.health === "HEALTHY" &&
      present.get(edgeId)!.weight > 0,
  );
  return edge.fullness === "full" && hasRoom ? 0 : Math.min(weight, tightWeight);
}

function dialStep(region: string, members: Belief[], facts: WantedFacts): Step {
  const { observed, regions, climbs, pins, armed, soakSeconds, now } = facts;
  const group = observed.groups.find((one) => one.region === region);
  const isDown = regions.some((one) => one.region === region && one.state === "down");
  const climb = follow(climbs.regions[region], isDown ? "out" : "up", now);
  const pin = pinOf(pins, "region", region, now);
  if (pin !== undefined) return { value: pin.value, climb };
  // The group of edges that are all gone keeps its dial.
  if (members.every((edge) => edge.gone || edge.region !== region)) return { value: group?.dial ?? fullDial, climb };
  if (isDown) return { value: 0, climb };
  if (!armed) return { value: fullDial, climb };
  if (group !== undefined) return rise(group.dial, dialSteps, climb, soakSeconds, now);
  const others = observed.groups.some((other) => takersIn(other, observed).length > 0);
  if (!others) return { value: fullDial, climb };
  return { value: 0, climb: climb ?? beginning(now) };
}
