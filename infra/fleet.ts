/** What the platform team runs, per stage: regions, cells, slots, ranges. The one file to edit before a deployment. */
import { readFileSync } from "node:fs";
import path from "node:path";
import type * as z from "zod";
import { FleetNames } from "../schemas/fleet";

export interface StageFleet {
  homeRegion: string;
  regions: string[];
  cells: {
    name: string;
    regions: string[];
    edgesPerRegion: number;
    portBase: number;
    portCount: number;
    tlsCount: number;
  }[];
  /** Backends must be in these ranges (CIDR). */
  backendRanges: string[];
  /** Domains that the platform owns. Tenants have names and wildcards below them. */
  platformDomains: string[];
  endpointDomain: string;
  /** Names that no tenant may have, in addition to the platform's domains. */
  reservedNames: string[];
  /**
   * Names that clients make of each tenant's names, as templates with `{name}`, or `{hex}` for its bytes in hexadecimal digits.
   * They lead where the name leads. A domain that a template ends with belongs to the platform.
   */
  derivedNames: string[];
  /** Names that all tenants share: clients say in ALPN whose they mean, as in `teleport-auth@acme.com`. */
  sharedNames: string[];
  /** Tenants get names outside the platform's domains only when a TXT record shows that they are theirs. */
  requireProof: boolean;
  /** Minimum time until a given-up slot or name is free again. Every edge must have acked its removal, too. */
  coolOffSeconds: { slot: number; name: number };
  /** How long each stage of a new structure (canary, region, all) is watched. */
  structureBakeSeconds: number;
  /**
   * An edge or a region that was out returns in steps, and stays at each for `soakSeconds` at least. More withdrawals in an hour
   * than `withdrawalsPerHourMax` need an operator. `repair`: ports, health checks and a disabled accelerator are put back when
   * somebody changes them, and not only reported.
   */
  failover: { soakSeconds: number; withdrawalsPerHourMax: number; repair: boolean };
  /** Sessions of one tenant on one edge: what each may have, and what a record may ask for at most. */
  sessionLimits: { open: number; newPerSecond: number };
  sessionLimitsMax: { open: number; newPerSecond: number };
  /**
   * Sessions of a removed tenant continue for `graceSeconds`. A draining edge waits until `quietSeconds` have passed
   * without a new connection, and then closes its sessions over `closeSeconds`.
   */
  sessions: { closeSeconds: number; graceSeconds: number; quietSeconds: number };
  instanceType: string;
  /** Roles of this account that may say that an edge or a region is degraded or healthy: people's and monitors'. */
  healthRoles: string[];
  /** Ports that edges listen on for TLS and for the health check. */
  edgeTlsPort: number;
  healthPort: number;
}

const regions = ["us-west-2", "eu-west-3", "ap-northeast-1"];

/** The fleet of a laptop: loopback instead of a VPC, and 200 ports. Pods of region n are in 127.77.(100 + n).0/24. */
const local: StageFleet = {
  homeRegion: "us-west-2",
  regions,
  cells: [{ name: "c1", regions, edgesPerRegion: 2, portBase: 10000, portCount: 200, tlsCount: 100_000 }],
  backendRanges: ["127.77.100.0/24", "127.77.101.0/24", "127.77.102.0/24"],
  platformDomains: ["tenants.localhost.example"],
  endpointDomain: "landfall.localhost.example",
  reservedNames: ["login.tenants.localhost.example"],
  // As Teleport's clients do: kubectl through `tsh`, agents and plugins that dial the auth service.
  derivedNames: ["kube-teleport-proxy-alpn.{name}", "{hex}.teleport.cluster.local"],
  sharedNames: ["teleport.cluster.local"],
  requireProof: false,
  coolOffSeconds: { slot: 60, name: 60 },
  structureBakeSeconds: 10,
  failover: { soakSeconds: 0.5, withdrawalsPerHourMax: 1000, repair: true },
  sessionLimits: { open: 2000, newPerSecond: 500 },
  sessionLimitsMax: { open: 20_000, newPerSecond: 2000 },
  sessions: { closeSeconds: 10, graceSeconds: 10, quietSeconds: 5 },
  instanceType: "t4g.small",
  healthRoles: ["landfall-health"],
  edgeTlsPort: 8443,
  healthPort: 8080,
};

/** An example to start from: replace the addresses and names with your own. */
const deployed: StageFleet = {
  ...local,
  cells: [{ name: "c1", regions, edgesPerRegion: 2, portBase: 10000, portCount: 20000, tlsCount: 100_000 }],
  backendRanges: ["10.0.0.0/8"],
  platformDomains: ["tenants.example.com"],
  endpointDomain: "landfall.example.com",
  reservedNames: ["login.tenants.example.com"],
  coolOffSeconds: { slot: 3600, name: 24 * 3600 },
  structureBakeSeconds: 300,
  failover: { soakSeconds: 60, withdrawalsPerHourMax: 12, repair: true },
  sessions: { closeSeconds: 600, graceSeconds: 300, quietSeconds: 60 },
};

export const localStage = "local";

/** LANDFALL_LOCAL_CELLS=2 makes a laptop's fleet of two cells, each with an accelerator and edges of its own. */
function localFleet(): StageFleet {
  const count = Number(process.env.LANDFALL_LOCAL_CELLS ?? 1);
  const [first] = local.cells;
  return { ...local, cells: Array.from({ length: count }, (_, index) => ({ ...first, name: `c${index + 1}` })) };
}

export function fleetOf(stage: string): StageFleet {
  const fleet = stage === localStage ? localFleet() : deployed;
  if (stage !== localStage && fleet.backendRanges.some((range) => range.startsWith("127.") || range.startsWith("::1")))
    throw new Error(`stage ${stage} allows loopback addresses as backends: an edge would connect to itself`);
  const { error } = FleetNames.safeParse(fleet);
  if (error !== undefined) throw new Error(`infra/fleet.ts, stage ${stage}: ${inWords(error)}`);
  return fleet;
}

const inWords = ({ issues }: z.ZodError) =>
  issues.map(({ path: [field, index], message }) => `${String(field)}[${String(index)}] ${message}`).join("; ");

/** For each region, all regions of the fleet, nearest first by the measured round trips. */
export function nearestRegions(fleet: StageFleet, root: string): Record<string, string[]> {
  const table = readFileSync(path.join(root, "data/aws-inter-region-rtt.csv"), "utf8");
  const rtt = new Map<string, number>();
  for (const line of table.split("\n")) {
    const [from, to, ms] = line.split(",");
    if (to === undefined || !Number.isFinite(Number(ms))) continue;
    rtt.set(`${from} ${to}`, Number(ms)).set(`${to} ${from}`, Number(ms));
  }
  const distance = (from: string, to: string) => {
    if (from === to) return 0;
    const ms = rtt.get(`${from} ${to}`);
    if (ms === undefined) throw new Error(`data/aws-inter-region-rtt.csv has no round trip from ${from} to ${to}`);
    return ms;
  };
  return Object.fromEntries(
    fleet.regions.map((from) => [from, fleet.regions.toSorted((a, b) => distance(from, a) - distance(from, b))]),
  );
}
