/** The fleet: what the platform team runs. Written by infra/, read from SSM by the controller. */
import * as z from "zod";
import { DerivedName, domainOfTemplate } from "./derived-names.ts";
import { slotLimits } from "./limits.ts";
import { Hostname, Port, Region, SessionLimits } from "./tenant.ts";

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

/** What a fleet says of names. */
const names = {
  /** Domains that the platform owns. Tenants have names and wildcards below them. */
  platformDomains: z.array(Hostname),
  /** The stable name that tenants' own DNS points at is `<cell>.<endpointDomain>`. */
  endpointDomain: Hostname,
  /** Names that no tenant may have, in addition to the platform's domains, such as a login page or an API. */
  reservedNames: z.array(Hostname),
  /** Names that clients make of each tenant's names: they lead where the name leads. */
  derivedNames: z.array(DerivedName).default([]),
  /** Names that all tenants share: their clients say in ALPN whose they mean, as in `teleport-auth@acme.com`. */
  sharedNames: z.array(Hostname).default([]),
};

/** A domain of derived or shared names belongs to the platform: nobody could have a name below a platform's domain in it. */
function checkNames(fleet: z.infer<z.ZodObject<typeof names>>, context: z.RefinementCtx): void {
  const lists = {
    derivedNames: fleet.derivedNames.map(domainOfTemplate),
    sharedNames: fleet.sharedNames,
  };
  for (const [field, domains] of Object.entries(lists))
    for (const [index, domain] of domains.entries()) {
      const inside = fleet.platformDomains.find((other) => other === domain || other.endsWith(`.${domain}`));
      if (inside === undefined) continue;
      const message = `would take ${inside}, where tenants have their names: use a domain below it or another one`;
      context.addIssue({ code: "custom", path: [field, index], message });
    }
}

export const FleetNames = z.object(names).superRefine(checkNames);

const fields = {
  stage: z.string(),
  homeRegion: Region,
  /** Each region's snapshot bucket. */
  buckets: z.record(Region, z.string()),
  /** For each region, all regions, nearest first. The first is the region itself. */
  nearest: z.record(Region, z.array(Region)),
  cells: z.array(Cell).min(1),
  /** Backends may only be in these ranges (CIDR). */
  backendRanges: z.array(z.string()),
  ...names,
  /** Tenants get names outside the platform's domains only when a TXT record shows that they are theirs. */
  requireProof: z.boolean().default(false),
  /** Sessions that a tenant's record may ask for on an edge, at most. */
  sessionLimitsMax: SessionLimits.default({ open: 1_000_000, newPerSecond: 1_000_000 }),
  /** Minimum time until a given-up slot or name is free again. Every edge must have acked its removal, too. */
  coolOffSeconds: z.strictObject({ slot: z.number().int().min(0), name: z.number().int().min(0) }),
  /** How edges and regions leave the accelerator and return. */
  failover: z
    .strictObject({
      /** How long a returning edge or region stays at each step, at least. */
      soakSeconds: z.number().min(0.1).max(3600).default(60),
      /** Withdrawals in an hour that follow only from what monitors say; pins are not counted. */
      withdrawalsPerHourMax: z.number().int().min(1).default(12),
      /** Whether ports, health checks and a disabled accelerator are put back when somebody changes them; else only reported. */
      repair: z.boolean().default(true),
    })
    .prefault({}),
  /** How long each stage of a new structure is watched before the next one. */
  structureBakeSeconds: z.number().int().min(0),
};

export const Fleet = z.strictObject(fields).superRefine((fleet, context) => {
  checkNames(fleet, context);
  const fault = (path: string[], message: string) => context.addIssue({ code: "custom", path, message });
  for (const region of new Set([fleet.homeRegion, ...fleet.cells.flatMap((cell) => cell.regions)])) {
    if (!Object.hasOwn(fleet.buckets, region)) fault(["buckets"], `has none for ${region}`);
    if (!Object.hasOwn(fleet.nearest, region)) fault(["nearest"], `has no row for ${region}`);
  }
});
export type Fleet = z.infer<typeof Fleet>;
