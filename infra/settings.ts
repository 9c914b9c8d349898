import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import path from "node:path";
import { nearestRegions, type StageFleet } from "./fleet";
import { pascal } from "./names";

/** The settings that the controller reads from SSM, and the edges' structures in every region's bucket. */
export function settings(
  fleet: StageFleet,
  parts: {
    root: string;
    listeners: Record<string, aws.globalaccelerator.Listener>;
    snapshots: Record<string, aws.s3.Bucket>;
    publicKeys: $util.Input<Record<string, string>>;
  },
) {
  const { root, listeners, snapshots, publicKeys } = parts;
  const nearest = nearestRegions(fleet, root);
  const parameter = (logical: string, name: string, value: $util.Input<string>) =>
    new aws.ssm.Parameter(logical, {
      name: `/landfall/${$app.stage}/${name}`,
      type: "String",
      tier: "Intelligent-Tiering",
      value,
    });
  const description = {
    stage: $app.stage,
    homeRegion: fleet.homeRegion,
    buckets: Object.fromEntries(fleet.regions.map((region) => [region, snapshots[region].bucket])),
    nearest,
    cells: fleet.cells.map(({ edgesPerRegion: _, ...cell }) => ({
      ...cell,
      listenerArn: listeners[cell.name].arn,
      tlsPort: 443,
      edgeTlsPort: fleet.edgeTlsPort,
      healthPort: fleet.healthPort,
    })),
    backendRanges: fleet.backendRanges,
    platformDomains: fleet.platformDomains,
    endpointDomain: fleet.endpointDomain,
    reservedNames: fleet.reservedNames,
    derivedNames: fleet.derivedNames,
    sharedNames: fleet.sharedNames,
    requireProof: fleet.requireProof,
    sessionLimitsMax: fleet.sessionLimitsMax,
    coolOffSeconds: fleet.coolOffSeconds,
    structureBakeSeconds: fleet.structureBakeSeconds,
    failover: fleet.failover,
  };
  const structures: Record<string, string> = {};
  for (const cell of fleet.cells) {
    const structure = structureOf(fleet, cell, root, nearest);
    const hash = createHash("sha256").update(structure).digest("hex");
    const known = Object.values(structures).includes(hash); // cells that are alike share an object
    structures[cell.name] = hash;
    for (const region of known ? [] : fleet.regions)
      new aws.s3.BucketObjectv2(
        `Structure-${cell.name}-${pascal(region)}`,
        {
          bucket: snapshots[region].bucket,
          region,
          key: `objects/${hash}`,
          content: structure,
          contentType: "application/json",
        },
        { retainOnDelete: true }, // an edge may still run it
      );
  }
  return {
    fleet: parameter("FleetParameter", "fleet", $jsonStringify(description)),
    structures: parameter("StructuresParameter", "structures", JSON.stringify(structures)),
    mode: parameter("ModeParameter", "mode", "enforce"),
    freeze: parameter("FreezeParameter", "freeze", "off"),
    publicKeys: parameter("PublicKeysParameter", "public-keys", $jsonStringify(publicKeys)),
  };
}

/** Canonical bytes: keys in order, because the bytes' hash is the structure's name. */
function structureOf(
  fleet: StageFleet,
  cell: StageFleet["cells"][number],
  root: string,
  nearest: Record<string, string[]>,
): string {
  const read = (file: string) => readFileSync(path.join(root, "edge/structure", file), "utf8");
  return `${JSON.stringify({
    backendRanges: fleet.backendRanges,
    derivedNames: fleet.derivedNames,
    edgeTlsPort: fleet.edgeTlsPort,
    healthPort: fleet.healthPort,
    nearest: Object.fromEntries(
      Object.keys(nearest)
        .sort()
        .map((region) => [region, nearest[region]]),
    ),
    nginxConf: read("nginx.conf"),
    portBase: cell.portBase,
    portCount: cell.portCount,
    routeFormat: 1,
    router: read("router.js"),
    sessionLimits: fleet.sessionLimits,
    sessions: fleet.sessions,
    sharedNames: fleet.sharedNames,
  })}\n`;
}
