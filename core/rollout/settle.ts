import type { WaitOutcome } from "./waits.ts";

/** Whether all counted edges serve it, only some, or none that reported. */
export function servedBy({ served, missing }: WaitOutcome): "all" | "partly" | "none" {
  if (served.length === 0) return "none";
  return missing.length === 0 ? "all" : "partly";
}

const regionsOf = (edges: { region: string }[]): string[] => [...new Set(edges.map(({ region }) => region))].sort();

/** Regions with counted edges (`regionsCounted`), and those of them where every counted edge serves (`regions`). */
export function regionsServed({ served, missing }: WaitOutcome): { regions: string[]; regionsCounted: string[] } {
  const lacking = regionsOf(missing);
  const regions = regionsOf(served).filter((region) => !lacking.includes(region));
  return { regions, regionsCounted: regionsOf([...served, ...missing]) };
}
