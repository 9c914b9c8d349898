/** Who wrote a report: what EC2 knows of the instance decides, not what the report says. */
import type { Fleet } from "../../schemas/fleet.ts";
import type { EdgeIdentity } from "./edge.ts";

/** An instance as EC2 describes it. */
export interface Instance {
  /** `pending`, `running`, `stopped`, `shutting-down`, `terminated` … */
  state: string;
  address: string | undefined;
  tags: Record<string, string>;
}

/** Tags that the Auto Scaling group of a cell's edges gives its instances. */
export const edgeTags = { cell: "landfall:cell", stage: "landfall:stage" } as const;

/** Why a report counts for no edge. */
export type Ignored =
  | "malformed report"
  | "unknown instance"
  | "terminated instance"
  | "instance of another stage"
  | "instance of no cell"
  | "unknown region"
  | "generation above the live commit"
  | "refusal of an unknown tenant's route";

/** The edge that an instance is, or why it is none of this fleet. */
export function identityOf(
  edgeId: string,
  region: string,
  instance: Instance | undefined,
  fleet: Pick<Fleet, "stage" | "cells">,
): EdgeIdentity | Ignored {
  if (instance === undefined) return "unknown instance";
  if (["terminated", "shutting-down"].includes(instance.state)) return "terminated instance";
  const { tags, address } = instance;
  if (tags[edgeTags.stage] !== fleet.stage) return "instance of another stage";
  const cell = fleet.cells.find(({ name, regions }) => name === tags[edgeTags.cell] && regions.includes(region));
  if (cell === undefined) return "instance of no cell";
  return address === undefined ? "unknown instance" : { edgeId, cell: cell.name, region, address };
}
