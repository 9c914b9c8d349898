/** One evaluation of failover: what is seen → believed → wanted → held by rails → changed. Pure; times in ms since 1970. */

import type { Cell } from "../../schemas/fleet.ts";
import { failoverLimits } from "../../schemas/limits.ts";
import { canonicalJson } from "../canonical.ts";
import { type Belief, edgeBeliefs, type RegionBelief, regionBeliefs, type Seen } from "./beliefs.ts";
import { type Change, changesBetween } from "./changes.ts";
import { type Drift, driftOf, type Repair } from "./drift.ts";
import { endpointsIn, fullDial, type Model, type Observed, takersIn } from "./model.ts";
import type { Pin } from "./pins.ts";
import { type Held, withdrawalsIn, withinRails } from "./rails.ts";
import { type Climbs, wantedModel } from "./wanted.ts";

/** What one evaluation leaves for the next. */
export interface FailoverState extends Climbs {
  /** Everything was healthy once, or something was for long. */
  armed: boolean;
  /** When an endpoint was first seen to take users. */
  firstAt?: number;
  /** When edges and regions were last taken out because a monitor said so. */
  withdrawals: number[];
  /** What the last record says is held or not written, as text. */
  held: string;
}

export const firstState: FailoverState = { armed: false, edges: {}, regions: {}, withdrawals: [], held: "" };

/** Whether decisions are written. */
export type Mode = "enforce" | "monitor" | "frozen";

export interface Facts extends Seen {
  mode: Mode;
  cell: Cell;
  /** Whether what people changed beside weights and dials is put back. */
  repair: boolean;
  state: FailoverState;
  pins: Pin[];
  soakSeconds: number;
  withdrawalsMax: number;
  now: number;
}

export interface Decision {
  beliefs: Belief[];
  regions: RegionBelief[];
  wanted: Model;
  /** What may be. */
  model: Model;
  held: Held[];
  /** To be written now. */
  changes: Change[];
  /** What would be written if decisions were. */
  unwritten: Change[];
  /** What is not as it must be beside weights and dials, and what is done about it now. */
  drift: Drift[];
  repairs: Repair[];
  state: FailoverState;
  /** Whether the next evaluation must know this state. */
  isNews: boolean;
  /** Whether there is anything to write: a change, a repair, or news. What failed is due again. */
  isDue: boolean;
  /** When to look again without a sign; undefined: the next audit is soon enough. */
  dueAt?: number;
}

export function decide(facts: Facts): Decision {
  const { observed, state, pins, soakSeconds, withdrawalsMax, now } = facts;
  const beliefs = edgeBeliefs(facts, now);
  const regions = regionBeliefs(facts, now);
  const takers = observed.groups.filter((group) => takersIn({ ...group, dial: fullDial }, observed).length > 0);
  const firstAt = state.firstAt ?? (takers.length > 0 ? now : undefined);
  const isLate = firstAt !== undefined && now - firstAt >= failoverLimits.armAfterMs;
  const armed = state.armed || isLate || isWhole(beliefs, observed, facts.cell.regions);
  const wanted = wantedModel({ beliefs, regions, observed, climbs: state, pins, armed, soakSeconds, now });
  const recent = state.withdrawals.filter((at) => now - at < failoverLimits.withdrawalsMs);
  const railFacts = { observed, beliefs, regions, pins, armed, withdrawals: recent.length, withdrawalsMax, now };
  const { model, held } = withinRails(wanted.model, railFacts);
  const between = changesBetween(model, observed);
  const [changes, unwritten] = facts.mode === "enforce" ? [between, []] : [[], between];
  const drift = driftOf(observed, facts.cell, new Set(facts.edges.map(({ edgeId }) => edgeId)));
  const isRepaired = facts.repair && facts.mode === "enforce";
  const repairs = isRepaired ? drift.flatMap(({ repair }) => repair ?? []) : [];
  const taken = Array<number>(changes.length === 0 ? 0 : withdrawalsIn(model, railFacts)).fill(now);
  const next: FailoverState = {
    armed,
    ...(firstAt === undefined ? {} : { firstAt }),
    ...wanted.climbs,
    withdrawals: [...recent, ...taken],
    held: held.length + unwritten.length + drift.length === 0 ? "" : canonicalJson({ held, unwritten, drift }),
  };
  const isNews = canonicalJson({ ...next, withdrawals: [] }) !== canonicalJson({ ...state, withdrawals: [] });
  const isUneasy =
    held.length + unwritten.length + drift.length > 0 ||
    !armed ||
    beliefs.some(({ state }) => state === "down" || state === "suspect") ||
    pins.length > 0;
  const dues = [
    ...(wanted.dueAt === undefined ? [] : [wanted.dueAt]),
    ...(isUneasy ? [now + failoverLimits.lookMs] : []),
  ];
  return {
    beliefs,
    regions,
    wanted: wanted.model,
    model,
    held,
    changes,
    unwritten,
    drift,
    repairs,
    state: next,
    isNews,
    isDue: changes.length + repairs.length > 0 || isNews,
    ...(dues.length === 0 ? {} : { dueAt: Math.min(...dues) }),
  };
}

/** Every edge that is ready is in, and each region of the cell has one that takes users. */
function isWhole(beliefs: Belief[], observed: Observed, cellRegions: string[]): boolean {
  const present = endpointsIn(observed);
  const regions = new Set(
    observed.groups
      .filter((group) => takersIn({ ...group, dial: fullDial }, observed).length > 0)
      .map(({ region }) => region),
  );
  return (
    regions.size > 0 &&
    cellRegions.every((region) => regions.has(region)) &&
    beliefs.every(({ edgeId, ready }) => !ready || present.has(edgeId))
  );
}
