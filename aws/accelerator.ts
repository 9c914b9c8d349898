/** Global Accelerator: endpoint groups, which only the controller creates and writes. The API answers in us-west-2. */
import {
  CreateEndpointGroupCommand,
  GlobalAcceleratorClient,
  paginateListEndpointGroups,
  UpdateEndpointGroupCommand,
} from "@aws-sdk/client-global-accelerator";
import type { Change } from "../core/failover/changes.ts";
import type { Observed } from "../core/failover/model.ts";
import type { Cell } from "../schemas/fleet.ts";
import { acceleratorLimits } from "../schemas/limits.ts";

/** Only one attempt: the SDK could repeat a write after the lease has expired. */
const client = new GlobalAcceleratorClient({
  region: "us-west-2",
  maxAttempts: 1,
  requestHandler: {
    connectionTimeout: acceleratorLimits.connectMs,
    requestTimeout: acceleratorLimits.requestMs,
    throwOnRequestTimeout: true,
  },
});

export async function observeAccelerator(listenerArn: string): Promise<Observed> {
  const groups: Observed["groups"] = [];
  for await (const page of paginateListEndpointGroups({ client }, { ListenerArn: listenerArn }))
    for (const group of page.EndpointGroups ?? [])
      groups.push({
        region: group.EndpointGroupRegion!,
        arn: group.EndpointGroupArn!,
        dial: group.TrafficDialPercentage ?? 100,
        endpoints: (group.EndpointDescriptions ?? []).map((endpoint) => ({
          edgeId: endpoint.EndpointId!,
          weight: endpoint.Weight ?? 128,
          health: endpoint.HealthState ?? "INITIAL",
        })),
      });
  return { groups: groups.sort((a, b) => (a.region < b.region ? -1 : 1)) };
}

/** Writes one change: a list that changes is always whole, with every weight. */
export async function writeChange(cell: Cell, change: Change, idempotencyToken: string): Promise<void> {
  const EndpointConfigurations = change.endpoints.map(({ edgeId, weight }) => ({
    EndpointId: edgeId,
    Weight: weight,
    ClientIPPreservationEnabled: true,
  }));
  if (change.kind === "update") {
    await client.send(
      new UpdateEndpointGroupCommand({
        EndpointGroupArn: change.arn,
        ...(change.onlyDial ? {} : { EndpointConfigurations }),
        TrafficDialPercentage: change.dial,
      }),
    );
    return;
  }
  await client.send(
    new CreateEndpointGroupCommand({
      ListenerArn: cell.listenerArn,
      EndpointGroupRegion: change.region,
      EndpointConfigurations,
      TrafficDialPercentage: change.dial,
      HealthCheckProtocol: "HTTP",
      HealthCheckPath: "/healthz",
      HealthCheckPort: cell.healthPort,
      HealthCheckIntervalSeconds: acceleratorLimits.healthCheckSeconds,
      ThresholdCount: acceleratorLimits.healthCheckFailures,
      PortOverrides: [{ ListenerPort: cell.tlsPort, EndpointPort: cell.edgeTlsPort }],
      IdempotencyToken: idempotencyToken,
    }),
  );
}
