/** Global Accelerator's resources, their form in responses, and the checks that AWS makes. */
import * as sdk from "@aws-sdk/client-global-accelerator";
import { defaultQuotas as quotas } from "./quotas.ts";

export interface Accelerator {
  arn: string;
  name: string;
  addresses: string[];
  enabled: boolean;
  dnsName: string;
  created: Date;
  changed: Date;
  /** When the last write is deployed, ms since 1970. */
  deployedAt: number;
  tags: sdk.Tag[];
}
export interface Listener {
  arn: string;
  acceleratorArn: string;
  protocol: sdk.Protocol;
  affinity: sdk.ClientAffinity;
  portRanges: sdk.PortRange[];
}
export interface Group {
  arn: string;
  listenerArn: string;
  region: string;
  dial: number;
  protocol: sdk.HealthCheckProtocol;
  port: number | undefined;
  path: string;
  interval: number;
  threshold: number;
  overrides: sdk.PortOverride[];
  endpoints: Map<string, { weight: number; preserve: boolean; health: sdk.HealthState }>;
}

const fault = { $metadata: {} };
export const invalid = (message: string) => new sdk.InvalidArgumentException({ message, ...fault });

export const limit = (what: string, most: number) =>
  new sdk.LimitExceededException({ message: `The limit of ${most} ${what} is reached.`, ...fault });

export const listenerShown = ({ arn, protocol, affinity, portRanges }: Listener) => ({
  ListenerArn: arn,
  Protocol: protocol,
  ClientAffinity: affinity,
  PortRanges: portRanges,
});

export const groupShown = (group: Group) => ({
  EndpointGroupArn: group.arn,
  EndpointGroupRegion: group.region,
  TrafficDialPercentage: group.dial,
  HealthCheckPort: group.port,
  HealthCheckProtocol: group.protocol,
  HealthCheckPath: group.path,
  HealthCheckIntervalSeconds: group.interval,
  ThresholdCount: group.threshold,
  PortOverrides: group.overrides,
  EndpointDescriptions: [...group.endpoints].map(([EndpointId, { weight, preserve, health }]) => ({
    EndpointId,
    Weight: weight,
    HealthState: health,
    ClientIPPreservationEnabled: preserve,
  })),
});

/** `siblings` are the accelerator's other listeners. */
export function checkRanges(ranges: sdk.PortRange[], protocol: sdk.Protocol, siblings: Listener[]): void {
  if (ranges.length === 0 || ranges.length > quotas.portRangesPerListener)
    throw limit("port ranges", quotas.portRangesPerListener);
  const taken = siblings.filter((other) => other.protocol === protocol).flatMap(({ portRanges }) => portRanges);
  ranges.forEach((range, index) => {
    const { FromPort = 0, ToPort = 0 } = range;
    if (FromPort < 1 || ToPort > 65_535 || FromPort > ToPort)
      throw new sdk.InvalidPortRangeException({
        message: `The port range ${FromPort}-${ToPort} is not valid.`,
        ...fault,
      });
    const overlap = [...taken, ...ranges.slice(0, index)].some(
      (other) => FromPort <= other.ToPort! && other.FromPort! <= ToPort,
    );
    if (overlap)
      throw new sdk.InvalidPortRangeException({
        message: `The port range ${FromPort}-${ToPort} overlaps another listener's.`,
        ...fault,
      });
  });
}

/** Checks the overrides of a group against the port ranges of its listener. */
export function checkOverrides(overrides: sdk.PortOverride[], portRanges: sdk.PortRange[]): void {
  if (overrides.length > quotas.overridesPerGroup) throw limit("port overrides", quotas.overridesPerGroup);
  const within = (port: number) => portRanges.some(({ FromPort, ToPort }) => port >= FromPort! && port <= ToPort!);
  const outer = overrides.map(({ ListenerPort }) => ListenerPort);
  const inner = overrides.map(({ EndpointPort }) => EndpointPort);
  if (new Set(outer).size !== outer.length || new Set(inner).size !== inner.length)
    throw new sdk.InvalidPortRangeException({ message: "A port is overridden twice.", ...fault });
  for (const { ListenerPort, EndpointPort } of overrides)
    if (!within(ListenerPort!) || within(EndpointPort!))
      throw new sdk.InvalidPortRangeException({
        message: `The port override ${ListenerPort} to ${EndpointPort} is not valid for the listener's ranges.`,
        ...fault,
      });
}

export function checkHealth(input: sdk.UpdateEndpointGroupCommandInput | sdk.CreateEndpointGroupCommandInput): void {
  const { TrafficDialPercentage: dial, HealthCheckIntervalSeconds: interval, ThresholdCount: threshold } = input;
  if (dial !== undefined && (dial < 0 || dial > 100))
    throw new sdk.InvalidArgumentException({ message: "TrafficDialPercentage must be between 0 and 100.", ...fault });
  if (interval !== undefined && interval !== 10 && interval !== 30)
    throw new sdk.InvalidArgumentException({ message: "HealthCheckIntervalSeconds must be 10 or 30.", ...fault });
  if (threshold !== undefined && (threshold < 1 || threshold > 10))
    throw new sdk.InvalidArgumentException({ message: "ThresholdCount must be between 1 and 10.", ...fault });
  const { HealthCheckPort: port, HealthCheckPath: path, HealthCheckProtocol: protocol } = input;
  if (port !== undefined && (port < 1 || port > 65_535)) throw invalid("HealthCheckPort must be between 1 and 65535.");
  if (path !== undefined && !/^\/[\w/.~%-]{0,254}$/.test(path)) throw invalid("HealthCheckPath is not a path.");
  if (protocol !== undefined && !["TCP", "HTTP", "HTTPS"].includes(protocol))
    throw invalid(`HealthCheckProtocol ${protocol} is not valid.`);
}
