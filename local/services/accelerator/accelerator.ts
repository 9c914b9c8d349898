/** Global Accelerator's control plane. Its data plane is in local/network. */
import { randomUUID } from "node:crypto";
import * as sdk from "@aws-sdk/client-global-accelerator";
import type { Latency } from "../../latency.ts";
import type { NetworkListener } from "../../network/messages.ts";
import {
  type Accelerator,
  checkHealth,
  checkOverrides,
  checkRanges,
  type Group,
  invalid,
  type Listener,
  limit,
} from "./model.ts";
import { defaultWeight, quotas } from "./quotas.ts";

export interface AcceleratorPorts {
  account: string;
  latency: Latency;
  /** The address on this machine of the accelerator with this index. */
  addressOf(index: number): string;
  /** The address of an instance; undefined if the region has no instance with this id. */
  instanceAddress(id: string, region: string): string | undefined;
  /** Applies a new configuration to the data plane. */
  apply(listeners: NetworkListener[]): Promise<unknown>;
  onFault(error: unknown, what: string): void;
}

/** The local port of a public port: 8000 is added to ports below 1024. */
export const localPort = (port: number) => (port < 1024 ? port + 8000 : port);

const fault = { $metadata: {} };

export class GlobalAccelerator {
  readonly #ports: AcceleratorPorts;
  readonly accelerators = new Map<string, Accelerator>();
  readonly listeners = new Map<string, Listener>();
  readonly groups = new Map<string, Group>();
  readonly tokens = new Map<string, { asked: string; answer: object }>();
  #made = 0;
  /** Writes of endpoint groups since the start, newest last, for measurements. */
  readonly writes: { at: number; group: string }[] = [];

  constructor(ports: AcceleratorPorts) {
    this.#ports = ports;
  }

  /** Called when a health check changes the state of an endpoint. */
  setHealth(groupArn: string, endpoint: string, state: sdk.HealthState): void {
    const found = this.groups.get(groupArn)?.endpoints.get(endpoint);
    if (found !== undefined) found.health = state;
  }

  createAccelerator(
    name: string,
    arn = this.#arn(`accelerator/${randomUUID()}`),
    tags: sdk.Tag[] = [],
    enabled = true,
  ): Accelerator {
    if (this.accelerators.size >= quotas.accelerators) throw limit("accelerators", quotas.accelerators);
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
    this.accelerators.set(arn, accelerator);
    return accelerator;
  }

  createListener(
    acceleratorArn: string,
    input: Omit<Listener, "arn" | "acceleratorArn">,
    arn = `${acceleratorArn}/listener/${randomUUID().slice(0, 8)}`,
  ): Listener {
    this.findAccelerator(acceleratorArn);
    const siblings = [...this.listeners.values()].filter((other) => other.acceleratorArn === acceleratorArn);
    if (siblings.length >= quotas.listenersPerAccelerator) throw limit("listeners", quotas.listenersPerAccelerator);
    checkRanges(input.portRanges, input.protocol, siblings);
    const listener = { arn, acceleratorArn, ...input };
    this.listeners.set(arn, listener);
    this.changed(acceleratorArn);
    return listener;
  }

  addressOf(acceleratorArn: string): string {
    return this.findAccelerator(acceleratorArn).address;
  }

  #arn = (rest: string) => `arn:aws:globalaccelerator::${this.#ports.account}:${rest}`;

  findAccelerator(arn: string | undefined): Accelerator {
    const found = this.accelerators.get(arn ?? "");
    if (found === undefined)
      throw new sdk.AcceleratorNotFoundException({ message: `Accelerator not found: ${arn}`, ...fault });
    return found;
  }
  findListener(arn: string | undefined): Listener {
    const found = this.listeners.get(arn ?? "");
    if (found === undefined)
      throw new sdk.ListenerNotFoundException({ message: `Listener not found: ${arn}`, ...fault });
    return found;
  }
  findGroup(arn: string | undefined): Group {
    const found = this.groups.get(arn ?? "");
    if (found === undefined)
      throw new sdk.EndpointGroupNotFoundException({ message: `Endpoint group not found: ${arn}`, ...fault });
    return found;
  }
  listenersOf = (acceleratorArn: string) =>
    [...this.listeners.values()].filter((listener) => listener.acceleratorArn === acceleratorArn);
  groupsOf = (listenerArn: string) =>
    [...this.groups.values()]
      .filter((group) => group.listenerArn === listenerArn)
      .sort((a, b) => (a.region < b.region ? -1 : 1));

  /** Call after a write: the accelerator becomes IN_PROGRESS, its data plane is updated, and later it is DEPLOYED. */
  changed(acceleratorArn: string): void {
    const accelerator = this.findAccelerator(acceleratorArn);
    const { acceleratorDeployedMs, acceleratorEffectMs } = this.#ports.latency;
    accelerator.changed = new Date();
    accelerator.deployedAt = Date.now() + acceleratorDeployedMs;
    const apply = () =>
      this.#ports.apply(this.#network()).catch((error) => this.#ports.onFault(error, "accelerator data plane"));
    if (acceleratorEffectMs === 0) void apply();
    else setTimeout(apply, acceleratorEffectMs).unref();
  }

  #network(): NetworkListener[] {
    const live = [...this.listeners.values()].filter(
      ({ acceleratorArn }) => this.findAccelerator(acceleratorArn).enabled,
    );
    return live.map(({ arn, acceleratorArn, affinity, portRanges }) => ({
      arn,
      address: this.findAccelerator(acceleratorArn).address,
      sourceAffinity: affinity === "SOURCE_IP",
      ports: portRanges.flatMap(({ FromPort, ToPort }) =>
        Array.from({ length: ToPort! - FromPort! + 1 }, (_, i): [number, number] => [
          FromPort! + i,
          localPort(FromPort! + i),
        ]),
      ),
      groups: this.groupsOf(arn).map((group) => ({
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

  /** Sets the list as sent: other endpoints are detached, unless `keep`; a missing weight becomes the default. */
  setEndpoints(group: Group, configurations: sdk.EndpointConfiguration[], { keep }: { keep: boolean }): void {
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

  written(group: Group): void {
    this.writes.push({ at: Date.now(), group: group.arn });
    this.changed(this.findListener(group.listenerArn).acceleratorArn);
  }

  createGroup(input: sdk.CreateEndpointGroupCommandInput): Group {
    const listener = this.findListener(input.ListenerArn);
    const { EndpointGroupRegion: region } = input;
    if (this.groupsOf(listener.arn).some((group) => group.region === region))
      throw new sdk.EndpointGroupAlreadyExistsException({
        message: `There is an endpoint group in ${region} already.`,
        ...fault,
      });
    const all = this.listenersOf(listener.acceleratorArn).flatMap(({ arn }) => this.groupsOf(arn));
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
    this.updateGroup(group, input);
    this.groups.set(group.arn, group);
    this.written(group);
    return group;
  }

  /** A missing field keeps its value. A list in the input replaces the old list. */
  updateGroup(group: Group, input: sdk.UpdateEndpointGroupCommandInput | sdk.CreateEndpointGroupCommandInput): void {
    checkHealth(input);
    const { TrafficDialPercentage: dial, HealthCheckIntervalSeconds: interval, ThresholdCount: threshold } = input;
    if (input.PortOverrides !== undefined)
      checkOverrides(input.PortOverrides, this.findListener(group.listenerArn).portRanges);
    if (input.EndpointConfigurations !== undefined)
      this.setEndpoints(group, input.EndpointConfigurations, { keep: false });
    group.dial = dial ?? group.dial;
    group.interval = interval ?? group.interval;
    group.threshold = threshold ?? group.threshold;
    group.protocol = input.HealthCheckProtocol ?? group.protocol;
    group.port = input.HealthCheckPort ?? group.port;
    group.path = input.HealthCheckPath ?? group.path;
    group.overrides = input.PortOverrides ?? group.overrides;
  }

  describe(accelerator: Accelerator) {
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
}
