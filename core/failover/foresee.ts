/** What failover would do from now on if nothing else happened: a plan to look at before something is moved. Pure. */
import { failoverLimits } from "../../schemas/limits.ts";
import { sha256 } from "../../schemas/signed.ts";
import { canonicalJson } from "../canonical.ts";
import { type Change, written } from "./changes.ts";
import { decide, type Facts } from "./decide.ts";
import { type Model, modelOf, type Observed, takersIn } from "./model.ts";
import type { Pin } from "./pins.ts";
import type { Held } from "./rails.ts";
import { changesInWords, heldInWords } from "./record.ts";

/** Writes at one moment, milliseconds from now. */
export interface ForeseenStep {
  afterMs: number;
  changes: Change[];
  /** What the accelerator shows before them. */
  before: Model;
}

export interface MovePlan {
  steps: ForeseenStep[];
  /** What rails hold at once. */
  held: Held[];
  /** Edges that take users at the end, by region, and how many of them are nearly full. */
  after: { region: string; edges: number; full: number }[];
  /** Of what is there, written and held: another one means that the world has moved. */
  hash: string;
}

/**
 * The plan with these pins. Everybody is taken to stay as they are and to report on; new endpoints are healthy once they are
 * there. Looks ahead until nothing is due, or for as long as the longest return takes.
 */
export function foresee(facts: Facts, pins: Pin[]): MovePlan {
  let { observed, state, now } = facts;
  const end = now + failoverLimits.foreseenMs;
  const steps: ForeseenStep[] = [];
  let held: Held[] | undefined;
  while (now <= end) {
    const edges = facts.edges.map((edge) => ({ ...edge, reportedAt: edge.reportedAt + (now - facts.now) }));
    const signals = facts.signals.map((signal) => ({ ...signal, at: signal.at + (now - facts.now) }));
    const standing = pins.map((pin) => ({ ...pin, until: pin.until + (now - facts.now) }));
    const decision = decide({ ...facts, mode: "enforce", edges, signals, pins: standing, observed, state, now });
    held ??= decision.held;
    if (decision.changes.length > 0)
      steps.push({ afterMs: now - facts.now, changes: decision.changes, before: modelOf(observed) });
    const isSame = decision.changes.length === 0 && !decision.isNews;
    observed = settled(decision.changes.reduce(written, observed));
    ({ state } = decision);
    if (isSame && decision.dueAt === undefined) break;
    const lookAt = now + failoverLimits.lookMs;
    const isRestless = isSame && decision.dueAt! >= lookAt && !isClimbing(state);
    if (isRestless) break; // only what stands is looked at again: pins, and what is down
    now = isSame ? Math.max(now + 1, Math.min(decision.dueAt!, lookAt)) : now + 1;
  }
  const full = new Set(facts.edges.filter(({ fullness }) => fullness !== undefined).map(({ edgeId }) => edgeId));
  const after = observed.groups.map((group) => {
    const takers = takersIn(group, observed);
    return { region: group.region, edges: takers.length, full: takers.filter(({ edgeId }) => full.has(edgeId)).length };
  });
  const moves = steps.map(({ changes, before }) => ({ changes, before }));
  return {
    steps,
    held: held ?? [],
    after,
    hash: sha256(canonicalJson({ from: modelOf(facts.observed), moves, held })).slice(0, 12),
  };
}

const isClimbing = ({ edges, regions }: Facts["state"]): boolean =>
  [...Object.values(edges), ...Object.values(regions)].some(({ state }) => state === "up");

/** As the accelerator shows it once it has checked what is new. */
const settled = (observed: Observed): Observed => ({
  ...observed,
  inProgress: false,
  groups: observed.groups.map((group) => ({
    ...group,
    endpoints: group.endpoints.map((one) => ({ ...one, health: one.health === "INITIAL" ? "HEALTHY" : one.health })),
  })),
});

/** Why a region can't be evacuated now; undefined if it can. */
export function evacuationFault(facts: Facts, region: string): string | undefined {
  const group = facts.observed.groups.find((one) => one.region === region);
  if (group === undefined) return "it has no group";
  const pin: Pin = {
    kind: "region",
    target: region,
    value: 0,
    at: facts.now,
    until: facts.now + failoverLimits.pinMsMax,
    by: "",
    why: "plan",
  };
  const { held, after } = foresee(facts, [...facts.pins.filter(({ target }) => target !== region), pin]);
  const stops = held.find(({ rail, target }) => target === region || rail === "last region");
  if (stops !== undefined) return stops.why;
  const others = after.filter((one) => one.region !== region && one.edges > 0);
  if (others.length === 0) return "no other region takes users";
  if (others.every(({ edges, full }) => edges === full)) return "the edges of all other regions are nearly full";
  return undefined;
}

/** A plan in sentences. */
export function planInWords({ steps, held, after }: MovePlan): string[] {
  const seconds = (ms: number) => (ms < 1000 ? "at once" : `after ${Math.round(ms / 1000)} s`);
  return [
    ...steps.flatMap(({ afterMs, changes, before }) =>
      changesInWords(changes, before).map((line) => `${seconds(afterMs)}: ${line}`),
    ),
    ...heldInWords(held),
    `then users land on ${after
      .filter(({ edges }) => edges > 0)
      .map(
        ({ region, edges, full }) =>
          `${edges} ${edges === 1 ? "edge" : "edges"} of ${region}${full > 0 ? ` (${full} nearly full)` : ""}`,
      )
      .join(", ")}`,
  ];
}
