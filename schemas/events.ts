/** Events on the bus. Edges speak as `landfall.edge`, the controller as `landfall.control`. */
import * as z from "zod";
import { Region } from "./tenant.ts";

export const sources = { edge: "landfall.edge", control: "landfall.control" } as const;
export const detailTypes = {
  edgeReport: "Edge Report",
  edgeHealth: "Edge Health",
  edgeReadiness: "Edge Readiness",
  tenantServed: "Tenant Served",
  tenantRejected: "Tenant Rejected",
  tenantRemoved: "Tenant Removed",
} as const;

/** An edge's word on what it serves: on every change, and every 10 s. */
export const EdgeReport = z.strictObject({
  edgeId: z.string().min(1),
  cell: z.string(),
  region: Region,
  address: z.string(),
  /** Milliseconds since 1970, by the edge's clock; only compared with the same edge's own. */
  at: z.number().int(),
  appliedGeneration: z.number().int().min(0),
  structure: z.string().optional(),
  /** nginx accepts connections and its workers read routes. */
  serving: z.boolean(),
  rejectedRoutes: z.array(z.strictObject({ tenantId: z.string(), slot: z.number().int(), reason: z.string() })),
  /** Why the newest manifest is not applied; absent when it is. */
  nack: z.strictObject({ generation: z.number().int(), reason: z.string() }).optional(),
});
export type EdgeReport = z.infer<typeof EdgeReport>;

/** A health transition: of one edge, or of a whole region when `edgeId` is absent. */
export const EdgeHealth = z.strictObject({
  cell: z.string(),
  region: Region,
  edgeId: z.string().optional(),
  health: z.enum(["healthy", "degraded"]),
  /** When it was seen, milliseconds since 1970. The bus's own time has whole seconds, and delivers in any order. */
  at: z.number().int().optional(),
  reason: z.string().max(256).optional(),
});
export type EdgeHealth = z.infer<typeof EdgeHealth>;

/** EventBridge's envelope, as far as we read it. */
export const envelope = <T extends z.ZodType>(detail: T) =>
  z.object({ id: z.string(), source: z.string(), "detail-type": z.string(), time: z.string(), detail });
