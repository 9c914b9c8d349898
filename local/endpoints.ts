/** `.local/endpoints.json`: the addresses, ports and ids of a running cloud. */
import type { Endpoints } from "../schemas/local.ts";
import type { BootContext } from "./context.ts";
import { administrator } from "./iam/iam.ts";
import { localPort } from "./services/accelerator/accelerator.ts";

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
    tables: {
      tenants: table("Tenants"),
      ledger: table("Ledger"),
      reports: table("Reports"),
      rollouts: table("Rollouts"),
    },
    buckets: fleet.buckets,
    bus: String(lock.all("aws:cloudwatch/eventBus:EventBus")[0]?.inputs.name),
    accelerators: fleet.cells.map(({ name, listenerArn, portBase, portCount, tlsPort }) => {
      const arn = listenerArn.replace(/\/listener\/.*$/, "");
      return {
        cell: name,
        arn,
        address: services.accelerator.addressesOf(arn)[0]!,
        addresses: services.accelerator.addressesOf(arn),
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
