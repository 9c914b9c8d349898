/** Events on the home bus: health from people and monitors, and what the controller says. The bus's policy tells who may put which. */
import * as z from "zod";
import { Fullness } from "./report.ts";
import { Region } from "./tenant.ts";

export const sources = { health: "landfall.health", control: "landfall.control" } as const;
export const detailTypes = {
  edgeHealth: "Edge Health",
  edgeReadiness: "Edge Readiness",
  settingInvalid: "Setting Invalid",
  tenantServed: "Tenant Served",
  tenantRejected: "Tenant Rejected",
  tenantPending: "Tenant Pending",
  tenantRemoved: "Tenant Removed",
  tenantQuarantined: "Tenant Quarantined",
} as const;

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

/** What EC2 says of an instance, as its events have it: a new state, or that Spot takes it back within two minutes. */
export const InstanceEvent = z
  .object({
    "instance-id": z.string().regex(/^i-[\w-]{1,40}$/),
    state: z.enum(["pending", "running", "stopping", "stopped", "shutting-down", "terminated"]).optional(),
    "instance-action": z.enum(["hibernate", "stop", "terminate"]).optional(),
  })
  .refine((event) => event.state !== undefined || event["instance-action"] !== undefined, "says no state");

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

/** An edge began or ceased to be ready to take users, or to be nearly full. */
export const EdgeReadiness = z.strictObject({
  cell: z.string(),
  region: Region,
  edgeId: z.string(),
  ready: z.boolean(),
  fullness: Fullness.optional().describe("How full it is; absent while there is room."),
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
