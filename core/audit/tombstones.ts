import { edgeLimits } from "../../schemas/limits.ts";
import type { Edge } from "../edges/edge.ts";

/** A slot or a name that its tenant gave up. */
export interface Tombstone {
  cell: string;
  tenantId: string;
  /** When it was given up, milliseconds since 1970. */
  at: number;
  /** The live generation when an audit first found it. */
  seenAt?: number;
  /** The first commit that was found without it. Later commits are without it too, until it is claimed again. */
  absentFrom?: number;
  /** An operator ended its cool-off. */
  isWaived?: boolean;
}

export interface FreeingFacts {
  edges: Edge[];
  /** The oldest generation among the regions' manifests: an edge that boots there starts with it. */
  publishedFrom: number;
  coolOffMs: number;
  now: number;
}

/**
 * Whether a tombstone may be freed: every counted edge serves a commit without it, and the cool-off has passed. Every
 * edge of the ledger counts, no matter how long ago it reported: an edge that is cut off may still serve users.
 */
export function mayFree({ tenantId, at, absentFrom, isWaived }: Tombstone, facts: FreeingFacts): boolean {
  const isCool = isWaived === true || facts.now - at >= facts.coolOffMs;
  if (absentFrom === undefined || facts.publishedFrom < absentFrom || !isCool) return false;
  return facts.edges.every((edge) => edge.appliedGeneration >= absentFrom && !keepsOld(edge, tenantId));
}

/** An edge that refuses a tenant's route keeps serving the last good one, at any generation. */
const keepsOld = ({ rejectedRoutes }: Edge, tenantId: string) =>
  rejectedRoutes.length >= edgeLimits.rejectedRoutesMax || rejectedRoutes.some((route) => route.tenantId === tenantId);

/**
 * Whether a live commit without the tombstone proves that every later commit is without it too. A publisher that
 * rendered before the slot or name was given up can commit only directly on top of the commit that it read. It can't
 * commit after it lost the lease, nor two commits later.
 */
export const isConclusive = ({ seenAt }: Tombstone, generation: number, leaseTaken: boolean) =>
  leaseTaken || (seenAt !== undefined && generation >= seenAt + 2);
