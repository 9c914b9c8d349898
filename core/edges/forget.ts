/** What becomes of edges that stopped reporting. */
import { edgeLimits } from "../../schemas/limits.ts";
import type { Observed } from "../failover/model.ts";
import { type EdgeIdentity, type EdgeSummary, isReady, isRecent } from "./edge.ts";

/** An edge that missed several reports. */
export const isSilent = ({ reportedAt }: EdgeSummary, now: number) => now - reportedAt > edgeLimits.silentMs;

export interface SilentFacts {
  edge: EdgeSummary;
  /** Every edge of its cell. */
  edges: EdgeSummary[];
  /** Edges that the accelerator has and that take users there. */
  attached: Set<string>;
  serving: Set<string>;
  isTerminated: boolean;
  now: number;
}

/**
 * An edge whose instance runs counts, because it may serve users, until it is given up: then failover detaches it, its
 * instance is terminated, and Auto Scaling replaces it. A terminated edge is marked while the accelerator has it, so that
 * failover removes it there. Then it is forgotten.
 */
export function actionOnSilentEdge(facts: SilentFacts): "counts" | "mark" | "forget" | "give up" | "terminate" {
  const { edge, attached, isTerminated } = facts;
  const isAttached = attached.has(edge.edgeId);
  if (isTerminated) return isAttached ? "mark" : "forget";
  if (edge.givenUp === true) return isAttached ? "counts" : "terminate";
  return mayGiveUp(facts) ? "give up" : "counts";
}

/**
 * Silence alone is no reason, because what is broken may be the way of the reports: two thirds of the cell's other edges
 * must report, and another edge of the region must take users. One edge of a cell at a time.
 */
function mayGiveUp({ edge, edges, serving, now }: SilentFacts): boolean {
  if (now - edge.reportedAt <= edgeLimits.giveUpMs) return false;
  const others = edges.filter(({ edgeId }) => edgeId !== edge.edgeId);
  if (others.some(({ givenUp, terminated }) => givenUp === true || terminated === true)) return false;
  const heard = others.filter((other) => isRecent(other, now));
  return (
    heard.length * 3 >= others.length * 2 &&
    heard.some((other) => other.region === edge.region && isReady(other) && serving.has(other.edgeId))
  );
}

/** Instances in the accelerator that are no edge of the ledger. Other endpoints are somebody else's. */
export const unknownEndpoints = (groups: Observed["groups"], edges: EdgeSummary[]) =>
  groups.flatMap(({ region, endpoints }) =>
    endpoints
      .filter(({ edgeId }) => edgeId.startsWith("i-") && !edges.some((edge) => edge.edgeId === edgeId))
      .map(({ edgeId }) => ({ edgeId, region })),
  );

/**
 * The summary of an edge of which nothing is known but that the accelerator has it. It counts as one that may serve anything,
 * until it reports, or until it is silent for as long as others.
 */
export const unheardEdge = (
  identity: Omit<EdgeIdentity, "address">,
  { isTerminated, now }: { isTerminated: boolean; now: number },
): EdgeSummary => ({
  ...identity,
  address: "",
  appliedGeneration: 0,
  serving: false,
  reportedAt: isTerminated ? 0 : now,
  edgeAt: 0,
  changedAt: 0,
  refuses: 0,
  ...(isTerminated ? { terminated: true } : {}),
});
