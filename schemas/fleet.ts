/** The fleet: what the platform team runs. Written by infra/, read from SSM by the controller. */
import * as z from "zod";
import { slotLimits } from "./limits.ts";
import { Hostname, Port, Region } from "./tenant.ts";

/** A cell: one accelerator with one listener, its edges in every region, and a number of slots. */
export const Cell = z.strictObject({
  name: z.string().regex(/^[a-z0-9-]{1,32}$/),
  listenerArn: z.string(),
  regions: z.array(Region).min(1),
  /** Raw slots own TCP port `portBase + n`, n below `portCount`; tls slots are numbered above them. */
  portBase: Port,
  portCount: z.number().int().min(1).max(slotLimits.portsMax),
  tlsCount: z.number().int().min(1),
  /** The public TLS port, and the unprivileged one that edges listen on for it. */
  tlsPort: Port,
  edgeTlsPort: Port,
  healthPort: Port,
});
export type Cell = z.infer<typeof Cell>;

const fields = {
  stage: z.string(),
  homeRegion: Region,
  /** Each region's snapshot bucket. */
  buckets: z.record(Region, z.string()),
  /** Each region's other regions, nearest first, itself included as the first. */
  nearest: z.record(Region, z.array(Region)),
  cells: z.array(Cell).min(1),
  /** Backends may only be in these ranges (CIDR). */
  backendRanges: z.array(z.string()),
  /** Parents that the platform owns; tenants may have names below them, never wildcards. */
  platformDomains: z.array(Hostname),
  /** The stable name that tenants' own DNS points at is `<cell>.<endpointDomain>`. */
  endpointDomain: Hostname,
  /** Names that no tenant may have, on top of the platform's own domains: a login page, an API. */
  reservedNames: z.array(Hostname),
  /** How long a freed slot, and a released name, stay nobody's once every edge has let go of them. */
  coolOffSeconds: z.strictObject({ slot: z.number().int().min(0), name: z.number().int().min(0) }),
  /** How long each stage of a new structure is watched before the next one. */
  structureBakeSeconds: z.number().int().min(0),
};

export const Fleet = z.strictObject(fields).superRefine((fleet, context) => {
  const fault = (path: string[], message: string) => context.addIssue({ code: "custom", path, message });
  for (const region of new Set([fleet.homeRegion, ...fleet.cells.flatMap((cell) => cell.regions)])) {
    if (!Object.hasOwn(fleet.buckets, region)) fault(["buckets"], `has none for ${region}`);
    if (!Object.hasOwn(fleet.nearest, region)) fault(["nearest"], `has no row for ${region}`);
  }
});
export type Fleet = z.infer<typeof Fleet>;
