/** What an edge writes into the Reports table: its whole state, on every change and every 10 s. */
import * as z from "zod";
import { edgeLimits } from "./limits.ts";
import { Region } from "./tenant.ts";

/** The prefix of a nack's reason when the structure itself is refused, and not when it can't be fetched. */
export const structureRefused = "refuses the structure: ";

const Reason = z.string().max(edgeLimits.reasonCharactersMax);

export const Fullness = z.enum(["tight", "full"]);
export type Fullness = z.infer<typeof Fullness>;

/** Sessions of one removed route on one edge. Times are the edge's clock, milliseconds since 1970. */
export const ClosingSessions = z.object({
  slot: z.number().int(),
  tenantId: z.string(),
  open: z.number().int(),
  closesAt: z.number(),
  closed: z.number().int(),
  /** Why they could not be closed. */
  fault: z.string().optional(),
});
export type ClosingSessions = z.infer<typeof ClosingSessions>;

/** Leaving: fails health checks, but accepts connections. Closing: closes sessions gradually. Drained: none is left. */
export const DrainProgress = z.object({
  phase: z.enum(["leaving", "closing", "drained"]),
  since: z.number(),
  sessions: z.number().int(),
});
export type DrainProgress = z.infer<typeof DrainProgress>;

/**
 * A report counts for the edge that wrote it only. Which edge that is follows from the item's key, and its cell and address
 * from EC2: the report does not say them. Times are the edge's clock, milliseconds since 1970, and are only compared
 * with each other.
 */
export const EdgeReport = z.object({
  /** Where EC2 has the instance. */
  region: Region,
  at: z.number().int(),
  /** When anything of the report last changed: the `at` of the first report that says the same. */
  changedAt: z.number().int(),
  appliedGeneration: z.number().int().min(0),
  /** Hash of the structure it runs. */
  structure: z.string().max(64).optional(),
  /** It takes users: nginx accepts connections, its workers read routes, and it does not drain. */
  serving: z.boolean(),
  /** How full it is: `tight` asks for fewer new users, `full` for none. Absent while there is room. */
  fullness: Fullness.optional(),
  /** Neighbours that answered before and do not now (schemas/neighbours.ts), in order. */
  accuses: z.array(z.string()).max(edgeLimits.accusedMax).optional(),
  rejectedRoutes: z
    .array(z.strictObject({ tenantId: z.string(), slot: z.number().int(), reason: Reason }))
    .max(edgeLimits.rejectedRoutesMax),
  /** Why the newest manifest is not applied; absent when it is. */
  nack: z.strictObject({ generation: z.number().int(), reason: Reason }).optional(),
  /** Sessions of removed routes: how many are open, when they will be closed, and how many were closed. */
  closing: z.array(ClosingSessions).max(edgeLimits.closingTenantsMax).optional(),
  /** The progress of a draining edge. */
  drain: DrainProgress.optional(),
});
export type EdgeReport = z.infer<typeof EdgeReport>;

/**
 * An item of the Reports table, in DynamoDB's own JSON. `id` is the writer's `aws:userid`, `<role id>:<instance id>`, which
 * IAM enforces. `beat` is true for a report that says the same as the one before.
 */
export const reportItem = (roleId: string, edgeId: string, report: EdgeReport) => ({
  id: { S: `${roleId}:${edgeId}` },
  beat: { BOOL: report.at !== report.changedAt },
  report: { S: JSON.stringify(report) },
});

/** The instance that wrote an item: `aws:userid` of an instance's role ends with the instance's id. */
export const writerOf = (id: string): string => id.slice(id.indexOf(":") + 1);
