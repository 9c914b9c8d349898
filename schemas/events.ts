/** Events on the bus. Edges send them as `landfall.edge`, the controller as `landfall.control`. */
import * as z from "zod";
import { Region } from "./tenant.ts";

export const sources = { edge: "landfall.edge", control: "landfall.control" } as const;
export const detailTypes = {
  edgeReport: "Edge Report",
  edgeHealth: "Edge Health",
  edgeReadiness: "Edge Readiness",
  settingInvalid: "Setting Invalid",
  tenantServed: "Tenant Served",
  tenantRejected: "Tenant Rejected",
  tenantPending: "Tenant Pending",
  tenantRemoved: "Tenant Removed",
  tenantQuarantined: "Tenant Quarantined",
} as const;

/** The prefix of a nack's reason when the structure itself is refused, and not when it can't be fetched. */
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

/** Leaving: fails health checks, but accepts connections. Closing: closes sessions gradually. Drained: none is left. */
export const DrainProgress = z.object({
  phase: z.enum(["leaving", "closing", "drained"]),
  since: z.number(),
  sessions: z.number().int(),
});
export type DrainProgress = z.infer<typeof DrainProgress>;

/** An edge's report of what it serves: on every change, and every 10 s. */
export const EdgeReport = z.object({
  edgeId: z.string().min(1),
  cell: z.string(),
  region: Region,
  address: z.string(),
  /** Milliseconds since 1970, by the edge's clock; only compared with the same edge's own. */
  at: z.number().int(),
  appliedGeneration: z.number().int().min(0),
  structure: z.string().optional(),
  /** It takes users: nginx accepts connections, its workers read routes, and it does not drain. */
  serving: z.boolean(),
  rejectedRoutes: z.array(z.strictObject({ tenantId: z.string(), slot: z.number().int(), reason: z.string() })),
  /** Why the newest manifest is not applied; absent when it is. */
  nack: z.strictObject({ generation: z.number().int(), reason: z.string() }).optional(),
  /** Sessions of removed routes: how many are open, when they will be closed, and how many were closed. */
  closing: z.array(ClosingSessions).optional(),
  /** The progress of a draining edge. */
  drain: DrainProgress.optional(),
});
export type EdgeReport = z.infer<typeof EdgeReport>;

/** A health transition: of one edge, or of a whole region when `edgeId` is absent. */
export const EdgeHealth = z.strictObject({
  cell: z.string(),
  region: Region,
  edgeId: z.string().optional(),
  health: z.enum(["healthy", "degraded"]),
  /** When it was seen, in milliseconds since 1970. The bus's own time has whole seconds, and its order may change. */
  at: z.number().int().optional(),
  reason: z.string().max(256).optional(),
});
export type EdgeHealth = z.infer<typeof EdgeHealth>;

const tenant = {
  tenantId: z.string().describe("The tenant's id."),
  generation: z.number().int().min(1).describe("The tenant's generation that the event describes."),
};
const reasons = z.array(z.string()).describe("The faults, one line each, with the path of the field.");

/** A change of a tenant is settled: edges serve it. */
export const TenantServed = z.strictObject({
  ...tenant,
  served: z
    .enum(["all", "partly", "none"])
    .describe("Whether all counted edges serve it, only some, or none that reported."),
  regions: z.array(Region).describe("Regions whose edges all serve it."),
  missing: z.array(z.string()).describe("Counted edges that do not serve it, as `edge (region): reason`."),
});

/** A record can't be served as it is. Edges keep serving the previous one. */
export const TenantRejected = z.strictObject({ ...tenant, reasons });

/** A record is valid, but there is no room for it. It is admitted automatically when there is room. */
export const TenantPending = z.strictObject({ ...tenant, reasons });

/** A record was deleted, and no edge that counts serves it any more. */
export const TenantRemoved = z.strictObject(tenant);

/** An edge refuses a tenant's route and keeps the last good one. Other tenants are not affected. */
export const TenantQuarantined = z.strictObject({
  tenantId: tenant.tenantId,
  edgeId: z.string().describe("The edge that refuses the route."),
  region: Region.describe("The edge's region."),
  reason: z.string().describe("The edge's reason."),
});

/** An edge began or ceased to be ready to take users. */
export const EdgeReadiness = z.strictObject({
  cell: z.string(),
  region: Region,
  edgeId: z.string(),
  ready: z.boolean(),
});

/** The newest version of an SSM parameter is invalid. An earlier version is used until a valid one is put. */
export const SettingInvalid = z.strictObject({
  name: z.string().describe("The parameter."),
  version: z.number().int().describe("Its newest version."),
  reason: z.string().describe("Why that version is invalid."),
  usedVersion: z.number().int().describe("The version in use: the newest valid one."),
});

/** The controller's events by detail type. */
export const controlEvents = {
  [detailTypes.tenantServed]: TenantServed,
  [detailTypes.tenantRejected]: TenantRejected,
  [detailTypes.tenantPending]: TenantPending,
  [detailTypes.tenantRemoved]: TenantRemoved,
  [detailTypes.tenantQuarantined]: TenantQuarantined,
  [detailTypes.edgeReadiness]: EdgeReadiness,
  [detailTypes.settingInvalid]: SettingInvalid,
};
export type ControlEvent = {
  [Type in keyof typeof controlEvents]: { detailType: Type; detail: z.infer<(typeof controlEvents)[Type]> };
}[keyof typeof controlEvents];

/** EventBridge's envelope, as far as we read it. */
export const envelope = <T extends z.ZodType>(detail: T) =>
  z.object({ id: z.string(), source: z.string(), "detail-type": z.string(), time: z.string(), detail });
