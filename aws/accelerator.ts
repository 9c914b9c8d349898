/** Global Accelerator: endpoint groups, which only the controller creates and writes. The API answers in us-west-2. */
import {
  CreateEndpointGroupCommand,
  DescribeAcceleratorCommand,
  DescribeListenerCommand,
  type EndpointGroup,
  GlobalAcceleratorClient,
  type HealthCheckProtocol,
  paginateListEndpointGroups,
  UpdateAcceleratorCommand,
  UpdateEndpointGroupCommand,
  UpdateListenerCommand,
} from "@aws-sdk/client-global-accelerator";
import type { Change } from "../core/failover/changes.ts";
import { groupSettings, type Repair } from "../core/failover/drift.ts";
import type { GroupSettings, Observed } from "../core/failover/model.ts";
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

/** ARNs of listeners contain those of their accelerators. */
const acceleratorArn = ({ listenerArn }: Cell) => listenerArn.replace(/\/listener\/.*$/, "");

export async function observeAccelerator(cell: Cell): Promise<Observed> {
  const ListenerArn = cell.listenerArn;
  const [{ Accelerator }, { Listener }, groups] = await Promise.all([
    client.send(new DescribeAcceleratorCommand({ AcceleratorArn: acceleratorArn(cell) })),
    client.send(new DescribeListenerCommand({ ListenerArn })),
    observeGroups(ListenerArn),
  ]);
  return {
    groups,
    enabled: Accelerator?.Enabled ?? true,
    inProgress: Accelerator?.Status === "IN_PROGRESS",
    ports: (Listener?.PortRanges ?? []).map(({ FromPort = 0, ToPort = 0 }) => [FromPort, ToPort]),
  };
}

export async function observeGroups(listenerArn: string): Promise<Observed["groups"]> {
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
        settings: settingsOf(group),
      });
  return groups.sort((a, b) => (a.region < b.region ? -1 : 1));
}

const settingsOf = (group: EndpointGroup): GroupSettings => ({
  protocol: group.HealthCheckProtocol ?? "TCP",
  path: group.HealthCheckPath ?? "/",
  port: group.HealthCheckPort ?? 0,
  intervalSeconds: group.HealthCheckIntervalSeconds ?? 30,
  failures: group.ThresholdCount ?? 3,
  overrides: (group.PortOverrides ?? []).map(({ ListenerPort = 0, EndpointPort = 0 }) => [ListenerPort, EndpointPort]),
});

const sentSettings = ({ protocol, path, port, intervalSeconds, failures, overrides }: GroupSettings) => ({
  HealthCheckProtocol: protocol as HealthCheckProtocol,
  HealthCheckPath: path,
  HealthCheckPort: port,
  HealthCheckIntervalSeconds: intervalSeconds,
  ThresholdCount: failures,
  PortOverrides: overrides.map(([ListenerPort, EndpointPort]) => ({ ListenerPort, EndpointPort })),
});

/** Puts back what somebody changed. A group's list and dial are not sent, and stay. */
export async function writeRepair(cell: Cell, repair: Repair): Promise<void> {
  if (repair.kind === "enable")
    await client.send(new UpdateAcceleratorCommand({ AcceleratorArn: acceleratorArn(cell), Enabled: true }));
  else if (repair.kind === "ports") {
    const PortRanges = repair.ports.map(([FromPort, ToPort]) => ({ FromPort, ToPort }));
    await client.send(new UpdateListenerCommand({ ListenerArn: cell.listenerArn, PortRanges }));
  } else
    await client.send(
      new UpdateEndpointGroupCommand({ EndpointGroupArn: repair.arn, ...sentSettings(repair.settings) }),
    );
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
      ...sentSettings(groupSettings(cell)),
      IdempotencyToken: idempotencyToken,
    }),
  );
}
