/** Global Accelerator's control plane. Its data plane is in local/network. */
import { randomUUID } from "node:crypto";
import * as sdk from "@aws-sdk/client-global-accelerator";
import { AwsError, service } from "../../gateway/service.ts";
import type { Latency } from "../../latency.ts";
import type { NetworkListener } from "../../network/messages.ts";
import { defaultWeight, quotas } from "./quotas.ts";

interface Accelerator {
  arn: string;
  name: string;
  address: string;
  enabled: boolean;
  dnsName: string;
  created: Date;
  changed: Date;
  /** When the last write is deployed, ms since 1970. */
  deployedAt: number;
  tags: sdk.Tag[];
}
interface Listener {
  arn: string;
  acceleratorArn: string;
  protocol: sdk.Protocol;
  affinity: sdk.ClientAffinity;
  portRanges: sdk.PortRange[];
}
interface Group {
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

export interface AcceleratorPorts {
  account: string;
  latency: Latency;
  /** The address that the accelerator's number has on this machine. */
  addressOf(index: number): string;
  /** Where an instance listens; undefined when there is none of that id in the region. */
  instanceAddress(id: string, region: string): string | undefined;
  /** What the data plane does from now on. */
  apply(listeners: NetworkListener[]): Promise<unknown>;
  onFault(error: unknown, what: string): void;
}

/** Public ports below 1024 are listened on here plus this. */
export const localPort = (port: number) => (port < 1024 ? port + 8000 : port);

const fault = { $metadata: {} };

export class GlobalAccelerator {
  readonly #ports: AcceleratorPorts;
  readonly #accelerators = new Map<string, Accelerator>();
  readonly #listeners = new Map<string, Listener>();
  readonly #groups = new Map<string, Group>();
  readonly #tokens = new Map<string, { asked: string; answer: object }>();
  #made = 0;
  /** Writes of endpoint groups since the start, newest last, for measurements. */
  readonly writes: { at: number; group: string }[] = [];

  constructor(ports: AcceleratorPorts) {
    this.#ports = ports;
  }

  /** The network heard from a checker. */
  setHealth(groupArn: string, endpoint: string, state: sdk.HealthState): void {
    const found = this.#groups.get(groupArn)?.endpoints.get(endpoint);
    if (found !== undefined) found.health = state;
  }

  createAccelerator(
    name: string,
    arn = this.#arn(`accelerator/${randomUUID()}`),
    tags: sdk.Tag[] = [],
    enabled = true,
  ): Accelerator {
    if (this.#accelerators.size >= quotas.accelerators) throw limit("accelerators", quotas.accelerators);
    const accelerator: Accelerator = {
      arn,
      name,
      address: this.#ports.addressOf(this.#made++),
      enabled,
      dnsName: `a${arn.split("/").at(-1)!.replaceAll("-", "").slice(0, 16)}.awsglobalaccelerator.com`,
      created: new Date(),
      changed: new Date(),
      deployedAt: Date.now() + this.#ports.latency.acceleratorDeployedMs,
      tags,
    };
    this.#accelerators.set(arn, accelerator);
    return accelerator;
  }

  createListener(
    acceleratorArn: string,
    input: Omit<Listener, "arn" | "acceleratorArn">,
    arn = `${acceleratorArn}/listener/${randomUUID().slice(0, 8)}`,
  ): Listener {
    this.#accelerator(acceleratorArn);
    const siblings = [...this.#listeners.values()].filter((other) => other.acceleratorArn === acceleratorArn);
    if (siblings.length >= quotas.listenersPerAccelerator) throw limit("listeners", quotas.listenersPerAccelerator);
    this.#checkRanges(input.portRanges, input.protocol, siblings);
    const listener = { arn, acceleratorArn, ...input };
    this.#listeners.set(arn, listener);
    this.#changed(acceleratorArn);
    return listener;
  }

  addressOf(acceleratorArn: string): string {
    return this.#accelerator(acceleratorArn).address;
  }

  #arn = (rest: string) => `arn:aws:globalaccelerator::${this.#ports.account}:${rest}`;

  #checkRanges(ranges: sdk.PortRange[], protocol: sdk.Protocol, siblings: Listener[]): void {
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

  #accelerator(arn: string | undefined): Accelerator {
    const found = this.#accelerators.get(arn ?? "");
    if (found === undefined)
      throw new sdk.AcceleratorNotFoundException({ message: `Accelerator not found: ${arn}`, ...fault });
    return found;
  }
  #listener(arn: string | undefined): Listener {
    const found = this.#listeners.get(arn ?? "");
    if (found === undefined)
      throw new sdk.ListenerNotFoundException({ message: `Listener not found: ${arn}`, ...fault });
    return found;
  }
  #group(arn: string | undefined): Group {
    const found = this.#groups.get(arn ?? "");
    if (found === undefined)
      throw new sdk.EndpointGroupNotFoundException({ message: `Endpoint group not found: ${arn}`, ...fault });
    return found;
  }
  #listenersOf = (acceleratorArn: string) =>
    [...this.#listeners.values()].filter((listener) => listener.acceleratorArn === acceleratorArn);
  #groupsOf = (listenerArn: string) =>
    [...this.#groups.values()]
      .filter((group) => group.listenerArn === listenerArn)
      .sort((a, b) => (a.region < b.region ? -1 : 1));

  /** A write: the accelerator is IN_PROGRESS, its data plane follows, later it is DEPLOYED. */
  #changed(acceleratorArn: string): void {
    const accelerator = this.#accelerator(acceleratorArn);
    const { acceleratorDeployedMs, acceleratorEffectMs } = this.#ports.latency;
    accelerator.changed = new Date();
    accelerator.deployedAt = Date.now() + acceleratorDeployedMs;
    const apply = () =>
      this.#ports.apply(this.#network()).catch((error) => this.#ports.onFault(error, "accelerator data plane"));
    if (acceleratorEffectMs === 0) void apply();
    else setTimeout(apply, acceleratorEffectMs).unref();
  }

  #network(): NetworkListener[] {
    const live = [...this.#listeners.values()].filter(
      ({ acceleratorArn }) => this.#accelerator(acceleratorArn).enabled,
    );
    return live.map(({ arn, acceleratorArn, affinity, portRanges }) => ({
      arn,
      address: this.#accelerator(acceleratorArn).address,
      sourceAffinity: affinity === "SOURCE_IP",
      ports: portRanges.flatMap(({ FromPort, ToPort }) =>
        Array.from({ length: ToPort! - FromPort! + 1 }, (_, i): [number, number] => [
          FromPort! + i,
          localPort(FromPort! + i),
        ]),
      ),
      groups: this.#groupsOf(arn).map((group) => ({
        arn: group.arn,
        region: group.region,
        dial: group.dial,
        health: {
          protocol: group.protocol,
          port: group.port,
          path: group.path,
          intervalMs: group.interval * 1000,
          threshold: group.threshold,
        },
        overrides: group.overrides.map(({ ListenerPort, EndpointPort }) => ({
          listener: ListenerPort!,
          endpoint: EndpointPort!,
        })),
        endpoints: [...group.endpoints].map(([id, { weight }]) => ({
          id,
          address: this.#ports.instanceAddress(id, group.region) ?? "127.0.0.0",
          weight,
        })),
      })),
    }));
  }

  /** The whole list, as sent: what is not in it is detached, and a weight that is not sent becomes the default. */
  #setEndpoints(group: Group, configurations: sdk.EndpointConfiguration[], { keep }: { keep: boolean }): void {
    const next = keep
      ? new Map(group.endpoints)
      : new Map<string, Group["endpoints"] extends Map<string, infer E> ? E : never>();
    if (new Set(configurations.map(({ EndpointId }) => EndpointId)).size !== configurations.length)
      throw invalid("An endpoint is in the list twice.");
    for (const { EndpointId, Weight = defaultWeight, ClientIPPreservationEnabled = true } of configurations) {
      if (!Number.isInteger(Weight) || Weight < 0 || Weight > 255)
        throw new sdk.InvalidArgumentException({ message: `Weight ${Weight} is not between 0 and 255.`, ...fault });
      const known = group.endpoints.get(EndpointId!);
      if (keep && known !== undefined)
        throw new sdk.EndpointAlreadyExistsException({
          message: `Endpoint ${EndpointId} is already in the group.`,
          ...fault,
        });
      if (known === undefined && this.#ports.instanceAddress(EndpointId!, group.region) === undefined)
        throw new sdk.InvalidArgumentException({ message: `The endpoint ${EndpointId} does not exist.`, ...fault });
      next.set(EndpointId!, {
        weight: Weight,
        preserve: ClientIPPreservationEnabled,
        health: known?.health ?? "INITIAL",
      });
    }
    if (next.size > quotas.endpointsPerGroup) throw limit("endpoints", quotas.endpointsPerGroup);
    group.endpoints = next;
  }

  #written(group: Group): void {
    this.writes.push({ at: Date.now(), group: group.arn });
    this.#changed(this.#listener(group.listenerArn).acceleratorArn);
  }

  #createGroup(input: sdk.CreateEndpointGroupCommandInput): Group {
    const listener = this.#listener(input.ListenerArn);
    const { EndpointGroupRegion: region } = input;
    if (this.#groupsOf(listener.arn).some((group) => group.region === region))
      throw new sdk.EndpointGroupAlreadyExistsException({
        message: `There is an endpoint group in ${region} already.`,
        ...fault,
      });
    const all = this.#listenersOf(listener.acceleratorArn).flatMap(({ arn }) => this.#groupsOf(arn));
    if (all.length >= quotas.groupsPerAccelerator) throw limit("endpoint groups", quotas.groupsPerAccelerator);
    const group: Group = {
      arn: `${listener.arn}/endpoint-group/${randomUUID().slice(0, 12)}`,
      listenerArn: listener.arn,
      region: region!,
      dial: 100,
      protocol: "TCP",
      port: undefined,
      path: "/",
      interval: 30,
      threshold: 3,
      overrides: [],
      endpoints: new Map(),
    };
    this.#update(group, input);
    this.#groups.set(group.arn, group);
    this.#written(group);
    return group;
  }

  /** Scalars that are not sent stay; a list that is sent replaces. */
  #update(group: Group, input: sdk.UpdateEndpointGroupCommandInput | sdk.CreateEndpointGroupCommandInput): void {
    const { TrafficDialPercentage: dial, HealthCheckIntervalSeconds: interval, ThresholdCount: threshold } = input;
    if (dial !== undefined && (dial < 0 || dial > 100))
      throw new sdk.InvalidArgumentException({ message: "TrafficDialPercentage must be between 0 and 100.", ...fault });
    if (interval !== undefined && interval !== 10 && interval !== 30)
      throw new sdk.InvalidArgumentException({ message: "HealthCheckIntervalSeconds must be 10 or 30.", ...fault });
    if (threshold !== undefined && (threshold < 1 || threshold > 10))
      throw new sdk.InvalidArgumentException({ message: "ThresholdCount must be between 1 and 10.", ...fault });
    const { HealthCheckPort: port, HealthCheckPath: path, HealthCheckProtocol: protocol } = input;
    if (port !== undefined && (port < 1 || port > 65_535))
      throw invalid("HealthCheckPort must be between 1 and 65535.");
    if (path !== undefined && !/^\/[\w/.~%-]{0,254}$/.test(path)) throw invalid("HealthCheckPath is not a path.");
    if (protocol !== undefined && !["TCP", "HTTP", "HTTPS"].includes(protocol))
      throw invalid(`HealthCheckProtocol ${protocol} is none.`);
    if (input.PortOverrides !== undefined) this.#checkOverrides(group, input.PortOverrides);
    if (input.EndpointConfigurations !== undefined)
      this.#setEndpoints(group, input.EndpointConfigurations, { keep: false });
    group.dial = dial ?? group.dial;
    group.interval = interval ?? group.interval;
    group.threshold = threshold ?? group.threshold;
    group.protocol = input.HealthCheckProtocol ?? group.protocol;
    group.port = input.HealthCheckPort ?? group.port;
    group.path = input.HealthCheckPath ?? group.path;
    group.overrides = input.PortOverrides ?? group.overrides;
  }

  #checkOverrides(group: Group, overrides: sdk.PortOverride[]): void {
    if (overrides.length > quotas.overridesPerGroup) throw limit("port overrides", quotas.overridesPerGroup);
    const { portRanges } = this.#listener(group.listenerArn);
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

  #shown(accelerator: Accelerator) {
    const { arn, name, enabled, address, dnsName, created, changed, deployedAt } = accelerator;
    return {
      AcceleratorArn: arn,
      Name: name,
      IpAddressType: "IPV4" as const,
      Enabled: enabled,
      IpSets: [{ IpFamily: "IPv4", IpAddresses: [address], IpAddressFamily: "IPv4" as const }],
      DnsName: dnsName,
      Status: Date.now() >= deployedAt ? ("DEPLOYED" as const) : ("IN_PROGRESS" as const),
      CreatedTime: created,
      LastModifiedTime: changed,
    };
  }

  service() {
    return service<typeof sdk>({
      signingName: "globalaccelerator",
      protocol: "awsJson",
      sdk,
      resourcesOf: (_, input) => [String(input.EndpointGroupArn ?? input.ListenerArn ?? input.AcceleratorArn ?? "*")],
      handlers: {
        CreateAccelerator: (input) =>
          this.#once(input, () => ({
            Accelerator: this.#shown(this.createAccelerator(input.Name!, undefined, input.Tags, input.Enabled)),
          })),
        DescribeAccelerator: ({ AcceleratorArn }) => ({ Accelerator: this.#shown(this.#accelerator(AcceleratorArn)) }),
        ListAccelerators: (input) =>
          paged(
            input,
            "Accelerators",
            [...this.#accelerators.values()].map((one) => this.#shown(one)),
          ),
        UpdateAccelerator: ({ AcceleratorArn, Name, Enabled }) => {
          const accelerator = this.#accelerator(AcceleratorArn);
          accelerator.name = Name ?? accelerator.name;
          accelerator.enabled = Enabled ?? accelerator.enabled;
          this.#changed(accelerator.arn);
          return { Accelerator: this.#shown(accelerator) };
        },
        DeleteAccelerator: ({ AcceleratorArn }) => {
          const { arn, enabled } = this.#accelerator(AcceleratorArn);
          if (enabled)
            throw new sdk.AcceleratorNotDisabledException({
              message: "The accelerator must be disabled first.",
              ...fault,
            });
          if (this.#listenersOf(arn).length > 0)
            throw new sdk.AssociatedListenerFoundException({ message: "The accelerator has listeners.", ...fault });
          this.#accelerators.delete(arn);
        },
        CreateListener: (input) =>
          this.#once(input, () => {
            const { Protocol = "TCP", ClientAffinity = "NONE", PortRanges = [] } = input;
            return {
              Listener: listenerShown(
                this.createListener(input.AcceleratorArn!, {
                  protocol: Protocol,
                  affinity: ClientAffinity,
                  portRanges: PortRanges,
                }),
              ),
            };
          }),
        DescribeListener: ({ ListenerArn }) => ({ Listener: listenerShown(this.#listener(ListenerArn)) }),
        ListListeners: (input) =>
          paged(input, "Listeners", this.#listenersOf(this.#accelerator(input.AcceleratorArn).arn).map(listenerShown)),
        UpdateListener: ({ ListenerArn, PortRanges, Protocol, ClientAffinity }) => {
          const listener = this.#listener(ListenerArn);
          const siblings = this.#listenersOf(listener.acceleratorArn).filter((other) => other !== listener);
          if (PortRanges !== undefined) this.#checkRanges(PortRanges, Protocol ?? listener.protocol, siblings);
          listener.portRanges = PortRanges ?? listener.portRanges;
          listener.protocol = Protocol ?? listener.protocol;
          listener.affinity = ClientAffinity ?? listener.affinity;
          this.#changed(listener.acceleratorArn);
          return { Listener: listenerShown(listener) };
        },
        DeleteListener: ({ ListenerArn }) => {
          const { arn, acceleratorArn } = this.#listener(ListenerArn);
          if (this.#groupsOf(arn).length > 0)
            throw new sdk.AssociatedEndpointGroupFoundException({
              message: "The listener has endpoint groups.",
              ...fault,
            });
          this.#listeners.delete(arn);
          this.#changed(acceleratorArn);
        },
        CreateEndpointGroup: (input) =>
          this.#once(input, () => ({ EndpointGroup: groupShown(this.#createGroup(input)) })),
        DescribeEndpointGroup: ({ EndpointGroupArn }) => ({ EndpointGroup: groupShown(this.#group(EndpointGroupArn)) }),
        ListEndpointGroups: (input) =>
          paged(input, "EndpointGroups", this.#groupsOf(this.#listener(input.ListenerArn).arn).map(groupShown)),
        UpdateEndpointGroup: (input) => {
          const group = this.#group(input.EndpointGroupArn);
          this.#update(group, input);
          this.#written(group);
          return { EndpointGroup: groupShown(group) };
        },
        DeleteEndpointGroup: ({ EndpointGroupArn }) => {
          const group = this.#group(EndpointGroupArn);
          this.#groups.delete(group.arn);
          for (const [key, { answer }] of this.#tokens)
            if (
              (answer as { EndpointGroup?: { EndpointGroupArn?: string } }).EndpointGroup?.EndpointGroupArn ===
              group.arn
            )
              this.#tokens.delete(key);
          this.#written(group);
        },
        AddEndpoints: ({ EndpointGroupArn, EndpointConfigurations = [] }) => {
          const group = this.#group(EndpointGroupArn);
          this.#setEndpoints(group, EndpointConfigurations, { keep: true });
          this.#written(group);
          return { EndpointGroupArn: group.arn, EndpointDescriptions: groupShown(group).EndpointDescriptions };
        },
        RemoveEndpoints: ({ EndpointGroupArn, EndpointIdentifiers = [] }) => {
          const group = this.#group(EndpointGroupArn);
          for (const { EndpointId } of EndpointIdentifiers)
            if (!group.endpoints.has(EndpointId!))
              throw new sdk.EndpointNotFoundException({
                message: `Endpoint ${EndpointId} is not in the group.`,
                ...fault,
              });
          for (const { EndpointId } of EndpointIdentifiers) group.endpoints.delete(EndpointId!);
          this.#written(group);
        },
        TagResource: ({ ResourceArn, Tags = [] }) => {
          const accelerator = this.#accelerator(ResourceArn);
          const kept = accelerator.tags.filter(({ Key }) => !Tags.some((tag) => tag.Key === Key));
          accelerator.tags = [...kept, ...Tags];
        },
        UntagResource: ({ ResourceArn, TagKeys = [] }) => {
          const accelerator = this.#accelerator(ResourceArn);
          accelerator.tags = accelerator.tags.filter(({ Key }) => !TagKeys.includes(Key!));
        },
        ListTagsForResource: ({ ResourceArn }) => ({ Tags: this.#accelerator(ResourceArn).tags }),
      },
    });
  }

  /** The same token for the same request is the same answer; for another it is a mistake. */
  #once<T extends object>(
    input: {
      IdempotencyToken?: string | undefined;
      ListenerArn?: string | undefined;
      AcceleratorArn?: string | undefined;
    },
    make: () => T,
  ): T {
    const { IdempotencyToken: token, ListenerArn, AcceleratorArn } = input;
    const key = `${ListenerArn ?? AcceleratorArn ?? ""} ${token}`;
    const asked = JSON.stringify(input);
    const known = token === undefined ? undefined : this.#tokens.get(key);
    if (known !== undefined && known.asked !== asked)
      throw invalid(`The idempotency token ${token} was used for another request.`);
    if (known !== undefined) return known.answer as T;
    const answer = make();
    if (token !== undefined) this.#tokens.set(key, { asked, answer });
    return answer;
  }
}

const invalid = (message: string) => new sdk.InvalidArgumentException({ message, ...fault });

const limit = (what: string, most: number) =>
  new sdk.LimitExceededException({ message: `The limit of ${most} ${what} is reached.`, ...fault });

const listenerShown = ({ arn, protocol, affinity, portRanges }: Listener) => ({
  ListenerArn: arn,
  Protocol: protocol,
  ClientAffinity: affinity,
  PortRanges: portRanges,
});

const groupShown = (group: Group) => ({
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

function paged<T>(
  { MaxResults = 10, NextToken }: { MaxResults?: number | undefined; NextToken?: string | undefined },
  key: string,
  all: T[],
) {
  const from = Number(NextToken ?? 0);
  if (!Number.isInteger(from) || from < 0)
    throw new AwsError("InvalidNextTokenException", "There isn't another item to return.");
  const more = from + MaxResults < all.length;
  return { [key]: all.slice(from, from + MaxResults), ...(more ? { NextToken: String(from + MaxResults) } : {}) };
}
