/** The record of a decision: what was seen, believed, wanted, held and written. Pure. */
import type { Belief, RegionBelief } from "./beliefs.ts";
import type { Change } from "./changes.ts";
import type { Decision, Mode } from "./decide.ts";
import type { Drift, Repair } from "./drift.ts";
import { endpointsIn, type Model, modelOf, type Observed } from "./model.ts";
import type { Pin } from "./pins.ts";
import type { Held } from "./rails.ts";

/** Times in milliseconds since 1970. */
export interface DecisionRecord {
  cell: string;
  at: number;
  mode: Mode;
  before: Model;
  beliefs: Belief[];
  regions: RegionBelief[];
  pins: Pin[];
  wanted: Model;
  held: Held[];
  /** What people changed beside weights and dials; `repaired` if it was put back. */
  drift: (Drift & { repaired?: boolean })[];
  /** What was written, or would have been while frozen or in monitor mode, and why a write failed. */
  changes: (Change & { failed?: string })[];
}

/** `repaired` are the repairs that were made. */
export function recordOf(
  facts: { cell: string; at: number; mode: Mode; observed: Observed; pins: Pin[] },
  { beliefs, regions, wanted, held, drift }: Decision,
  changes: DecisionRecord["changes"],
  repaired: Repair[],
): DecisionRecord {
  const { cell, at, mode, observed, pins } = facts;
  const told = drift.map((one) => ({ ...one, repaired: one.repair !== undefined && repaired.includes(one.repair) }));
  return { cell, at, mode, before: modelOf(observed), beliefs, regions, pins, wanted, held, drift: told, changes };
}

/** What the record says of one edge or region, in sentences; of everything without a target. */
export function inWords(record: DecisionRecord, target?: string): string[] {
  const { before, beliefs, regions, pins, held, drift = [], changes, mode } = record;
  const isMeant = (name: string, region?: string) => target === undefined || target === name || target === region;
  const said = [
    ...beliefs.filter(({ edgeId, region }) => isMeant(edgeId, region)),
    ...regions.filter((one) => isMeant(one.region)),
  ];
  const would = mode === "enforce" ? "" : `${mode === "frozen" ? "frozen" : "monitor mode"}, not written: `;
  return [
    ...said.flatMap((one) => (isQuiet(one) && target === undefined ? [] : [beliefInWords(one)])),
    ...pins.filter((pin) => isMeant(pin.target)).map(pinInWords),
    ...changes.flatMap((change) => {
      const failed = change.failed === undefined ? "" : `, which failed: ${change.failed}`;
      return changesInWords([change], before, isMeant).map((line) => `${would}${line}${failed}`);
    }),
    ...drift
      .filter((one) => isMeant(one.target) || !before.groups.some(({ region }) => region === one.target))
      .map(({ target: whom, what, repaired }) => `${whom}: ${what}${repaired ? "; put back" : ""}`),
    ...heldInWords(held.filter((one) => one.target === "the cell" || isMeant(one.target))),
  ];
}

/** What changes do to what is there before, of the edges and regions that are meant. */
export function changesInWords(
  changes: Change[],
  before: Model,
  isMeant: (name: string, region?: string) => boolean = () => true,
): string[] {
  const old = endpointsIn(before);
  return changes.flatMap(({ region, dial, endpoints }) => {
    const was = before.groups.find((group) => group.region === region)?.dial;
    const ids = new Set(endpoints.map(({ edgeId }) => edgeId));
    const weights = endpoints
      .filter(({ edgeId, weight }) => isMeant(edgeId, region) && old.get(edgeId)?.weight !== weight)
      .map(({ edgeId, weight }) => `weight of ${edgeId}: ${old.get(edgeId)?.weight ?? "none"} → ${weight}`);
    const removed = [...old.values()]
      .filter((one) => one.region === region && !ids.has(one.edgeId) && isMeant(one.edgeId, region))
      .map(({ edgeId }) => `${edgeId} removed`);
    const isMoved = was !== dial && isMeant(region);
    return [...weights, ...removed, ...(isMoved ? [`dial of ${region}: ${was ?? "none"} → ${dial} %`] : [])];
  });
}

/** One line for each rail and reason. */
export function heldInWords(held: Held[]): string[] {
  const groups = Map.groupBy(held, ({ rail, why }) => `${rail} ${why}`);
  return [...groups.values()].map((some) => {
    const targets = some.map(({ target }) => target);
    const more = targets.length > namedMax ? ` and ${targets.length - namedMax} more` : "";
    return `held by the rail "${some[0]!.rail}": ${targets.slice(0, namedMax).join(", ")}${more}: ${some[0]!.why}`;
  });
}

/** Targets that a sentence names. */
const namedMax = 6;

/** Whether a record changes or holds something of the target. Each record has beliefs about everything. */
export function concerns({ changes, held, before, beliefs }: DecisionRecord, target: string | undefined): boolean {
  if (target === undefined) return true;
  const old = endpointsIn(before);
  const isOf = (edgeId: string, region: string) => edgeId === target || region === target;
  const regionOf = new Map(beliefs.map(({ edgeId, region }) => [edgeId, region]));
  return (
    held.some((one) => one.target === "the cell" || isOf(one.target, regionOf.get(one.target) ?? "")) ||
    changes.some(({ region, endpoints, dial }) => {
      const group = before.groups.find((one) => one.region === region);
      const weights = new Map(endpoints.map(({ edgeId, weight }) => [edgeId, weight]));
      const ids = new Set([...weights.keys(), ...(group?.endpoints ?? []).map(({ edgeId }) => edgeId)]);
      const moved = [...ids].some((id) => isOf(id, region) && old.get(id)?.weight !== weights.get(id));
      return moved || (region === target && group?.dial !== dial);
    })
  );
}

const isQuiet = ({ state }: Belief | RegionBelief) => state === "serving";

function beliefInWords(belief: Belief | RegionBelief): string {
  const name = "edgeId" in belief ? `${belief.edgeId} (${belief.region})` : belief.region;
  const signs = belief.signs.map(
    ({ source, says, at }) => `${source} says ${says}${at === undefined ? "" : ` at ${timeOf(at)}`}`,
  );
  return `${name} is believed ${belief.state}: ${signs.join("; ") || "no sign of it"}`;
}

export const pinInWords = ({ kind, target, value, by, why, until }: Pin): string =>
  `${target} is pinned to ${kind === "edge" ? `weight ${value}` : `dial ${value} %`} until ${timeOf(until)} by ${by}: ${why}`;

export const timeOf = (at: number): string => new Date(at).toISOString().replace(/\.\d+Z$/, "Z");
