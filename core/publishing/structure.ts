/**
 * A new structure reaches a cell's edges in stages: one edge, its region, all. Each stage is watched for a while. If an
 * edge refuses the structure or gets worse with it, all edges return to the old one. State in, state out: one
 * evaluation per tick.
 */

import { structureLimits } from "../../schemas/limits.ts";
import { structureRefused } from "../../schemas/report.ts";
import type { Manifest } from "../../schemas/snapshot.ts";
import { type Edge, isReady, isRecent } from "../edges/edge.ts";

export interface StructureState {
  /** The structure to move to, and the one to return to. */
  target: string;
  from: string;
  stage: "canary" | "region" | "all" | "done" | "returned";
  /** When the stage was decided, and when it was first seen published, milliseconds since 1970. */
  since: number;
  publishedAt?: number;
  /** Edges that were degraded before the stage: their health is not counted against the structure. */
  degradedBefore: string[];
  /** Edges that have the target by override, in order. */
  edges: string[];
  /** Why it was returned. */
  reason?: string;
}

export interface StructureFacts {
  /** What the platform team wants every edge to have. */
  wanted: string;
  live: Manifest["structure"];
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
  const { state, wanted, live, now } = facts;
  if (state === undefined || state.stage === "done" || state.stage === "returned") return begin(facts);
  if (state.target !== wanted)
    return { ...state, ...returned(now, `${wanted.slice(0, 12)} is wanted instead`), target: state.target };
  if (!isPublished(live, structureOf(state))) return undefined;
  if (state.publishedAt === undefined) return { ...state, publishedAt: now };
  const members =
    state.stage === "all" ? facts.edges : facts.edges.filter(({ edgeId }) => state.edges.includes(edgeId));
  const fault = members.map((edge) => faultOf(edge, state, facts)).find((found) => found !== undefined);
  if (fault !== undefined) return { ...state, ...returned(now, fault) };
  const counted = members.filter((edge) => isRecent(edge, now));
  const everywhere = counted.length > 0 && counted.every(({ structure }) => structure === state.target);
  if (!everywhere || now - state.publishedAt < facts.bakeMs) return undefined;
  return next(state, facts);
}

function begin({ state, wanted, live, edges, degraded, now }: StructureFacts): StructureState | undefined {
  if (state !== undefined && !isPublished(live, structureOf(state))) return undefined; // still returning to `from`
  if (live.default === wanted || (state?.stage === "returned" && state.target === wanted && state.reason !== undefined))
    return undefined;
  const canary = edges
    .filter((edge) => isReady(edge) && isRecent(edge, now) && !degraded.includes(edge.edgeId))
    .map(({ edgeId }) => edgeId)
    .sort()[0];
  if (canary === undefined) return undefined;
  return { target: wanted, from: live.default, stage: "canary", since: now, edges: [canary], degradedBefore: degraded };
}

const returned = (now: number, reason: string) => ({ stage: "returned" as const, since: now, edges: [], reason });

function next({ publishedAt: _, ...state }: StructureState, { edges, degraded, now }: StructureFacts): StructureState {
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
  const { stage, publishedAt = facts.now, degradedBefore } = state;
  const { wanted, degraded, now } = facts;
  const who = `${edge.edgeId} (${edge.region})`;
  const waited = now - publishedAt > structureLimits.applyMs;
  if (!isRecent(edge, now)) return stage !== "all" && waited ? `${who} stopped reporting with it` : undefined;
  if (edge.structure !== wanted && edge.nack?.reason.startsWith(structureRefused)) return `${who} ${edge.nack.reason}`;
  if (edge.structure !== wanted) return waited ? `${who} did not apply it` : undefined;
  if (edge.drain !== undefined) return undefined; // it refuses users because it drains
  if (!edge.serving) return `${who} does not serve with it`;
  return degraded.includes(edge.edgeId) && !degradedBefore.includes(edge.edgeId)
    ? `${who} is degraded with it`
    : undefined;
}
