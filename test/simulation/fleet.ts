/** Fleets of simulated control planes. */
import type { Cell, Fleet } from "../../schemas/fleet.ts";

/** The first region is home. */
export function fleetOf(regions: string[], cells: Pick<Cell, "name" | "portCount" | "tlsCount">[]): Fleet {
  return {
    stage: "simulated",
    homeRegion: regions[0]!,
    buckets: Object.fromEntries(regions.map((region) => [region, `snapshots-${region}`])),
    nearest: Object.fromEntries(
      regions.map((region) => [region, [region, ...regions.filter((other) => other !== region)]]),
    ),
    cells: cells.map((cell) => ({
      ...cell,
      listenerArn: `arn:${cell.name}/listener/1`,
      regions,
      portBase: 10_000,
      tlsPort: 443,
      edgeTlsPort: 8443,
      healthPort: 8080,
    })),
    backendRanges: ["10.0.0.0/8"],
    platformDomains: ["tenants.example.com"],
    endpointDomain: "landfall.example.com",
    reservedNames: [],
    derivedNames: ["kube-teleport-proxy-alpn.{name}", "{hex}.teleport.cluster.local"],
    sharedNames: ["teleport.cluster.local"],
    requireProof: false,
    sessionLimitsMax: { open: 1000, newPerSecond: 100 },
    coolOffSeconds: { slot: 30, name: 30 },
    failover: { soakSeconds: 5, withdrawalsPerHourMax: 12, repair: true },
    structureBakeSeconds: 30,
  };
}
