import type { EdgeRow } from "../rollout/acks.ts";

/** A slot or a name that its tenant gave up. */
export interface Tombstone {
  cell: string;
  tenantId: string;
  /** When it was given up, milliseconds since 1970. */
  at: number;
  /** The first commit that was seen without it; later ones have it neither, until it is claimed again. */
  absentFrom?: number;
}

/**
 * What to do with a tombstone: `mark` it when the live commit has it no more, `free` it once every edge that counts serves
 * a commit without it and the cool-off has passed. Every edge counts that the ledger knows, however long it has been
 * silent: one that is cut off may still serve users.
 */
export function tombstoneStep(
  { at, absentFrom }: Tombstone,
  facts: { isLive: boolean; edges: EdgeRow[]; coolOffMs: number; now: number },
): "wait" | "mark" | "free" {
  if (absentFrom === undefined) return facts.isLive ? "wait" : "mark";
  const acked = facts.edges.every((edge) => edge.appliedGeneration >= absentFrom);
  return acked && facts.now - at >= facts.coolOffMs ? "free" : "wait";
}
