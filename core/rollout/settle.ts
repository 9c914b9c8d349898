import type { WaitOutcome } from "./acks.ts";

/** Served by all edges that count, by some, or by none that we heard of. */
export function servedBy({ served, missing }: WaitOutcome): "all" | "partly" | "none" {
  if (served.length === 0) return "none";
  return missing.length === 0 ? "all" : "partly";
}

export const regionsOf = (edges: { region: string }[]): string[] =>
  [...new Set(edges.map(({ region }) => region))].sort();
