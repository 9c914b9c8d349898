/**
 * A new structure reaches a cell's edges in stages: one edge, its region, all. Each stage is watched for a while. If an
 * edge refuses the structure or gets worse with it, all edges return to the old one. State in, state out: one
 * evaluation per tick.
 */

import { structureLimits } from "../../schemas/limits.ts";
import { structureRefused } from "../../schemas/report.ts";
import type { Manifest } from "../../schemas/snapshot.ts";
import { type Edge, isGone, isReady, isRecent } from "../edges/edge.ts";

export interface StructureState {
  /** The structure to move to, and the one to return to. */
  target: string;
  from: string;
  stage: "canary" | "region" | "all" | "done" | "returned";
  /** When the stage was decided, and when it was first seen published, milliseconds since 1970. */
  since: number;
  publishedAt?: number;
  /** The cell's generation at which it was first seen published. */
  publishedIn?: number;
  /** Edges that were degraded before the stage: their health is not counted against the structure. */
  degradedBefore: string[];
  /** Edges that have the target by override, in order. */
  edges: string[];
  /** Why it was returned. */
  reason?: string;
  /** An operator wants the same structure to be tried again. */
  again?: true;
}

export interface StructureFacts {
  /** What the platform team wants every edge to have. */
  wanted: string;
  live: Manifest["structure"];
  /** The cell's live generation. */
  generation: number;
  state: StructureState | undefined;
  edges: Edge[];
  /** Edges that a health event reported as degraded. */
  degraded: string[];
  bakeMs: number;
  now: number;
}

/** The structure that a state asks for. */
export function structureOf(state: StructureState): Manifest["structure"] {
  if (state.stage === "all" || state.stage === "done") return { default: state.target, overrides: {} };
  return { default: state.from, overrides: Object.fromEntries(state.edges.map((edgeId) => [edgeId, state.target])) };
}

/** The next state, or undefined when there is nothing to do but wait. */
export function advanceStructure(facts: StructureFacts): StructureState | undefined {
  const { state, wanted, live, generation, now } = facts;
  if (state === undefined || state.stage === "done" || state.stage === "returned") return begin(facts);
  if (state.target !== wanted)
    return { ...state, ...returned(now, `${wanted.slice(0, 12)} is wanted instead`), target: state.target };
  if (!isPublished(live, structureOf(state))) return undefined;
  const members = membersOf(state, facts);
  if (members.length === 0) return again(state, facts);
  if (state.publishedAt === undefined) return { ...state, publishedAt: now, publishedIn: generation };
  const fault = members.map((edge) => faultOf(edge, state, facts)).find((found) => found !== undefined);
  if (fault !== undefined) return { ...state, ...returned(now, fault) };
  const counted = members.filter((edge) => isRecent(edge, now));
  const everywhere = counted.length > 0 && counted.every(({ structure }) => structure === state.target);
  if (!everywhere || now - state.publishedAt < facts.bakeMs) return undefined;
  return next(state, facts);
}

/** Edges that were given the target and still count: one that is terminated speaks neither for nor against it. */
const membersOf = ({ stage, edges: given }: StructureState, { edges }: StructureFacts) =>
  edges.filter((edge) => !isGone(edge) && (stage === "all" || given.includes(edge.edgeId)));

function begin(facts: StructureFacts): StructureState | undefined {
  const { state, wanted, live, degraded, now } = facts;
  if (state === undefined && Object.keys(live.overrides).length > 0)
    // A rebuilt ledger knows of no rollout: edges that have the structure of one return to the others' first.
    return { target: wanted, from: live.default, stage: "returned", since: now, edges: [], degradedBefore: [] };
  if (state !== undefined && !isPublished(live, structureOf(state))) return undefined; // still returning to `from`
  const wasRefused = state?.stage === "returned" && state.target === wanted && state.reason !== undefined;
  if (live.default === wanted || (wasRefused && state.again !== true)) return undefined;
  const canary = canaryIn(facts);
  if (canary === undefined) return undefined;
  return { target: wanted, from: live.default, stage: "canary", since: now, edges: [canary], degradedBefore: degraded };
}

const canaryIn = ({ edges, degraded, now }: StructureFacts): string | undefined =>
  edges
    .filter((edge) => isReady(edge) && isRecent(edge, now) && !degraded.includes(edge.edgeId))
    .map(({ edgeId }) => edgeId)
    .sort()[0];

/** No edge is left that was given the target: another canary takes over, as soon as there is one. */
function again(state: StructureState, facts: StructureFacts): StructureState | undefined {
  const canary = canaryIn(facts);
  if (canary === undefined) return undefined;
  const { target, from } = state;
  return { target, from, stage: "canary", since: facts.now, edges: [canary], degradedBefore: facts.degraded };
}

const returned = (now: number, reason: string) => ({ stage: "returned" as const, since: now, edges: [], reason });

function next(
  { publishedAt: _, publishedIn: __, ...state }: StructureState,
  { edges, degraded, now }: StructureFacts,
): StructureState {
  const base = { ...state, since: now, degradedBefore: degraded };
  if (state.stage === "region") return { ...base, stage: "all", edges: [] };
  if (state.stage === "all") return { ...base, stage: "done" };
  const region = edges.find(({ edgeId }) => edgeId === state.edges[0])?.region;
  const members = edges.filter((edge) => edge.region === region).map(({ edgeId }) => edgeId);
  return { ...base, stage: "region", edges: members.sort() };
}

const isPublished = (live: Manifest["structure"], asked: Manifest["structure"]) =>
  live.default === asked.default &&
  Object.keys(live.overrides).sort().join() === Object.keys(asked.overrides).sort().join();

/** Why an edge with the target counts against it. In the last stage, edges that do not report are not counted. */
function faultOf(edge: Edge, state: StructureState, facts: StructureFacts): string | undefined {
  const { stage, publishedAt = facts.now, publishedIn = 0, degradedBefore } = state;
  const { wanted, degraded, now } = facts;
  const who = `${edge.edgeId} (${edge.region})`;
  const waitedMs = now - publishedAt;
  if (!isRecent(edge, now))
    return stage !== "all" && waitedMs > structureLimits.silentMs ? `${who} stopped reporting with it` : undefined;
  const { nack } = edge;
  const isRefusal = nack?.reason.startsWith(structureRefused) && nack.generation >= publishedIn;
  if (edge.structure !== wanted && isRefusal) return `${who} ${nack?.reason}`;
  if (edge.structure !== wanted) return waitedMs > structureLimits.applyMs ? `${who} did not apply it` : undefined;
  if (edge.drain !== undefined) return undefined; // it refuses users because it drains
  if (!edge.serving) return `${who} does not serve with it`;
  return degraded.includes(edge.edgeId) && !degradedBefore.includes(edge.edgeId)
    ? `${who} is degraded with it`
    : undefined;
}
