/** `.local/endpoints.json`: where everything is while the cloud runs. */
import path from "node:path";
import type { BootContext } from "./context.ts";
import { administrator } from "./gateway/iam.ts";
import { localPort } from "./services/accelerator/accelerator.ts";

/** Where a running cloud keeps its logs and its endpoints. */
export const localDir = process.env.LANDFALL_LOCAL ?? path.resolve(import.meta.dirname, "../.local");
export const endpointsFile = path.join(localDir, "endpoints.json");

export interface Endpoints {
  aws: { endpoint: string; region: string; accessKeyId: string; secretAccessKey: string };
  profile: string;
  tables: { tenants: string; ledger: string };
  buckets: Record<string, string>;
  bus: string;
  accelerators: {
    cell: string;
    arn: string;
    address: string;
    ports: Record<string, number>;
    slots: { base: number; count: number };
  }[];
  locations: Record<string, string>;
  edges: {
    id: string;
    region: string;
    cell: string;
    pid: number | undefined;
    agentPid: number | undefined;
    dir: string;
    address: string;
  }[];
  publicKeys: Record<string, string>;
  dashboard: string;
}

interface FleetParameter {
  buckets: Record<string, string>;
  cells: { name: string; listenerArn: string; portBase: number; portCount: number; tlsPort: number }[];
}

export function describeEndpoints({ lock, endpoint, geography, latency, services }: BootContext): Endpoints {
  const table = (name: string) =>
    String(lock.all("aws:dynamodb/table:Table").find((one) => one.name === name)?.inputs.name);
  const parameters = lock.all("aws:ssm/parameter:Parameter");
  const fleet = JSON.parse(
    String(parameters.find(({ name }) => name === "FleetParameter")?.inputs.value),
  ) as FleetParameter;
  const keys = lock.all("aws:kms/key:Key").map(({ name, region }) => `arn:aws:kms:${region}:123456789012:key/${name}`);
  return {
    aws: { endpoint, region: geography.regions[0]!, ...administrator },
    profile: latency.name,
    tables: { tenants: table("Tenants"), ledger: table("Ledger") },
    buckets: fleet.buckets,
    bus: String(lock.all("aws:cloudwatch/eventBus:EventBus")[0]?.inputs.name),
    accelerators: fleet.cells.map(({ name, listenerArn, portBase, portCount, tlsPort }) => {
      const arn = listenerArn.replace(/\/listener\/.*$/, "");
      return {
        cell: name,
        arn,
        address: services.accelerator.addressOf(arn),
        ports: { [tlsPort]: localPort(tlsPort) },
        slots: { base: portBase, count: portCount },
      };
    }),
    locations: geography.locations,
    edges: services.compute.edges.map(({ config, pid, agentPid }) => ({
      id: config.id,
      region: config.region,
      cell: config.cell,
      pid,
      agentPid,
      dir: config.dir,
      address: config.address,
    })),
    publicKeys: Object.fromEntries(keys.map((arn) => [arn, services.kms.publicKey(arn)])),
    dashboard: `${endpoint}/_landfall/status`,
  };
}
