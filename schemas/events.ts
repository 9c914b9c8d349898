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
  tenantPending: "Tenant Pending",
  tenantRemoved: "Tenant Removed",
  tenantQuarantined: "Tenant Quarantined",
} as const;

/** How a nack begins that speaks against a structure itself, not against the way to it. */
export const structureRefused = "refuses the structure: ";

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

/** Leaving: refuses health checks and accepts. Closing: ends sessions at a pace. Drained: nobody is left. */
export const DrainProgress = z.object({
  phase: z.enum(["leaving", "closing", "drained"]),
  since: z.number(),
  sessions: z.number().int(),
});
export type DrainProgress = z.infer<typeof DrainProgress>;

/** An edge's word on what it serves: on every change, and every 10 s. */
export const EdgeReport = z.object({
  edgeId: z.string().min(1),
  cell: z.string(),
  region: Region,
  address: z.string(),
  /** Milliseconds since 1970, by the edge's clock; only compared with the same edge's own. */
  at: z.number().int(),
  appliedGeneration: z.number().int().min(0),
  structure: z.string().optional(),
  /** It takes users: nginx accepts, its workers read routes, and it does not drain. */
  serving: z.boolean(),
  rejectedRoutes: z.array(z.strictObject({ tenantId: z.string(), slot: z.number().int(), reason: z.string() })),
  /** Why the newest manifest is not applied; absent when it is. */
  nack: z.strictObject({ generation: z.number().int(), reason: z.string() }).optional(),
  /** Sessions of routes that were removed: open ones, when they are closed, and how many have been. */
  closing: z.array(ClosingSessions).optional(),
  /** How far an edge that is to leave has come. */
  drain: DrainProgress.optional(),
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

const tenant = {
  tenantId: z.string().describe("The tenant's id."),
  generation: z.number().int().min(1).describe("The tenant's generation that this is about."),
};
const reasons = z.array(z.string()).describe("What is wrong, one line a fault, each with the path of its field.");

/** A change of a tenant is settled: edges serve it. */
export const TenantServed = z.strictObject({
  ...tenant,
  served: z
    .enum(["all", "partly", "none"])
    .describe("By all edges that count, by some, or by none that were heard of."),
  regions: z.array(Region).describe("Regions whose edges all serve it."),
  missing: z.array(z.string()).describe("Edges that were waited for in vain, as `edge (region): reason`."),
});

/** A record can't be served as it is; what was served before goes on. */
export const TenantRejected = z.strictObject({ ...tenant, reasons });

/** A record is in order and there is no room for it; it is admitted by itself when there is. */
export const TenantPending = z.strictObject({ ...tenant, reasons });

/** A record was deleted, and no edge that counts serves it any more. */
export const TenantRemoved = z.strictObject(tenant);

/** An edge refuses a tenant's route and keeps the last good one; other tenants are not held up. */
export const TenantQuarantined = z.strictObject({
  tenantId: tenant.tenantId,
  edgeId: z.string().describe("The edge that refuses."),
  region: Region.describe("Where it is."),
  reason: z.string().describe("Why, in the edge's words."),
});

/** An edge began or ceased to be ready to take users. */
export const EdgeReadiness = z.strictObject({
  cell: z.string(),
  region: Region,
  edgeId: z.string(),
  ready: z.boolean(),
});

/** What the controller says, by detail type. */
export const controlEvents = {
  [detailTypes.tenantServed]: TenantServed,
  [detailTypes.tenantRejected]: TenantRejected,
  [detailTypes.tenantPending]: TenantPending,
  [detailTypes.tenantRemoved]: TenantRemoved,
  [detailTypes.tenantQuarantined]: TenantQuarantined,
  [detailTypes.edgeReadiness]: EdgeReadiness,
};
export type ControlEvent = {
  [Type in keyof typeof controlEvents]: { detailType: Type; detail: z.infer<(typeof controlEvents)[Type]> };
}[keyof typeof controlEvents];

/** EventBridge's envelope, as far as we read it. */
export const envelope = <T extends z.ZodType>(detail: T) =>
  z.object({ id: z.string(), source: z.string(), "detail-type": z.string(), time: z.string(), detail });
