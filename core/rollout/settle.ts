import type { WaitOutcome } from "./waits.ts";

export type Served = "all" | "partly" | "none";

/** Whether all counted edges serve it, only some, or none that reported. */
export function servedBy({ served, missing }: WaitOutcome): Served {
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

/** The last event about a tenant that was sent on the bus. */
export interface Announced {
  generation: number;
  detailType: string;
  /** Of a Tenant Served: by how many of the edges. */
  served?: Served;
}

/** Whether an event must be sent after the last one that was: another one, or the same when all edges serve at last. */
export function isNews(event: Announced, last: Announced | undefined): boolean {
  if (last === undefined || last.generation < event.generation) return true;
  if (last.generation > event.generation) return false;
  if (last.detailType !== event.detailType) return true;
  return event.served === "all" && last.served !== "all";
}
