import { edgeLimits } from "../../schemas/limits.ts";
import type { EdgeRow } from "../edges/edge.ts";

/** A slot or a name that its tenant gave up. */
export interface Tombstone {
  cell: string;
  tenantId: string;
  /** When it was given up, milliseconds since 1970. */
  at: number;
  /** The live commit when an audit first saw it. */
  seenAt?: number;
  /** The first commit that was seen without it; later ones have it neither, until it is claimed again. */
  absentFrom?: number;
}

export interface FreeingFacts {
  edges: EdgeRow[];
  /** The oldest generation that any region's manifest has: what an edge that boots there begins with. */
  publishedFrom: number;
  coolOffMs: number;
  now: number;
}

/**
 * Whether a tombstone may be freed: every edge that counts serves a commit without it, and the cool-off has passed. Every
 * edge counts that the ledger knows, however long it has been silent: one that is cut off may still serve users.
 */
export function mayFree({ tenantId, at, absentFrom }: Tombstone, facts: FreeingFacts): boolean {
  if (absentFrom === undefined || facts.publishedFrom < absentFrom || facts.now - at < facts.coolOffMs) return false;
  return facts.edges.every((edge) => edge.appliedGeneration >= absentFrom && !keepsOld(edge, tenantId));
}

/** An edge that refuses a tenant's route serves the last good one, whatever generation it is at. */
const keepsOld = ({ rejectedRoutes }: EdgeRow, tenantId: string) =>
  rejectedRoutes.length >= edgeLimits.rejectedRoutesMax || rejectedRoutes.some((route) => route.tenantId === tenantId);

/**
 * Whether a live commit without it means that every later one is without it too. A publisher that rendered before it was
 * given up can commit only on top of the commit that it saw then: not when it lost the lease, and not two commits later.
 */
export const isConclusive = ({ seenAt }: Tombstone, generation: number, leaseTaken: boolean) =>
  leaseTaken || (seenAt !== undefined && generation >= seenAt + 2);
