/** Global Accelerator's control plane. Its data plane is in local/network. */
import { randomUUID } from "node:crypto";
import * as sdk from "@aws-sdk/client-global-accelerator";
import type { Faults } from "../../faults.ts";
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
import { defaultQuotas, defaultWeight, endpointsPerCall, type Quotas } from "./quotas.ts";

export interface AcceleratorPorts {
  account: string;
  latency: Latency;
  /** The address on this machine of the accelerator with this index. */
  addressesOf(index: number): string[];
  /** The address of an instance; undefined if the region has no instance with this id. */
  instanceAddress(id: string, region: string): string | undefined;
  /** State of an instance in the region; undefined for an unknown one. */
  instanceState(id: string, region: string): "running" | "stopped" | "terminated" | undefined;
  faults?: Faults;
  /** Quotas that were raised. */
  quotas?: Partial<Quotas>;
  /** Applies a new configuration to the data plane. */
  apply(listeners: NetworkListener[]): Promise<unknown>;
  onFault(error: unknown, what: string): void;
}

/** The local port of a public port: 8000 is added to ports below 1024. */
export const localPort = (port: number) => (port < 1024 ? port + 8000 : port);

const fault = { $metadata: {} };

export class GlobalAccelerator {
  readonly #ports: AcceleratorPorts;
  readonly quotas: Quotas;
  readonly accelerators = new Map<string, Accelerator>();
  readonly listeners = new Map<string, Listener>();
  readonly groups = new Map<string, Group>();
  readonly tokens = new Map<string, { asked: string; answer: object }>();
  #made = 0;
  /** Writes of endpoint groups since the start, newest last, for measurements. */
  readonly writes: { at: number; group: string }[] = [];

  constructor(ports: AcceleratorPorts) {
    this.#ports = ports;
    this.quotas = { ...defaultQuotas, ...ports.quotas };
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
    if (this.accelerators.size >= this.quotas.accelerators) throw limit("accelerators", this.quotas.accelerators);
    const accelerator: Accelerator = {
      arn,
      name,
      addresses: this.#ports.addressesOf(this.#made++),
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
    if (siblings.length >= this.quotas.listenersPerAccelerator)
      throw limit("listeners", this.quotas.listenersPerAccelerator);
    checkRanges(input.portRanges, input.protocol, siblings);
    const listener = { arn, acceleratorArn, ...input };
    this.listeners.set(arn, listener);
    this.changed(acceleratorArn);
    return listener;
  }

  addressesOf(acceleratorArn: string): string[] {
    return this.findAccelerator(acceleratorArn).addresses;
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
      addresses: this.findAccelerator(acceleratorArn).addresses,
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

  /**
   * `keep` adds to the list; otherwise the list replaces the group's, and a weight that is not sent becomes the default. AWS
   * resolves every instance that a write names: one that does not exist, or is terminated, fails the whole write.
   */
  setEndpoints(group: Group, configurations: sdk.EndpointConfiguration[], { keep }: { keep: boolean }): void {
    if (configurations.length > endpointsPerCall)
      throw invalid(`A request names at most ${endpointsPerCall} endpoints, not ${configurations.length}.`);
    const next: Group["endpoints"] = keep ? new Map(group.endpoints) : new Map();
    if (new Set(configurations.map(({ EndpointId }) => EndpointId)).size !== configurations.length)
      throw invalid("An endpoint is in the list twice.");
    for (const { EndpointId = "", Weight = defaultWeight, ClientIPPreservationEnabled = true } of configurations) {
      if (!Number.isInteger(Weight) || Weight < 0 || Weight > 255)
        throw invalid(`Weight ${Weight} is not between 0 and 255.`);
      const known = group.endpoints.get(EndpointId);
      if (keep && known !== undefined) throw invalid(`Endpoint ${EndpointId} is already in the group.`);
      this.#resolve(EndpointId, group.region);
      next.set(EndpointId, {
        weight: Weight,
        preserve: ClientIPPreservationEnabled,
        health: known?.health ?? "INITIAL",
      });
    }
    if (next.size > this.quotas.endpointsPerGroup) throw limit("endpoints", this.quotas.endpointsPerGroup);
    group.endpoints = next;
  }

  /** @throws InvalidArgumentException that names the instance; AWS's wording is assumed */
  #resolve(id: string, region: string): void {
    const state = this.#ports.instanceState(id, region);
    if (state === undefined)
      throw invalid(
        `The instance ID '${id}' does not exist (Service: AmazonEC2; Status Code: 400; Error Code: InvalidInstanceID.NotFound)`,
      );
    if (state === "terminated") throw invalid(`The endpoint ${id} is not valid: its instance is terminated.`);
  }

  /** @throws InternalServiceErrorException at the rate of the faults */
  failAtTimes(): void {
    if (this.#ports.faults?.happens("acceleratorFault"))
      throw new sdk.InternalServiceErrorException({ message: "There was an internal error.", ...fault });
  }

  /** AddEndpoints and RemoveEndpoints wait for no other write; UpdateEndpointGroup takes its turn (API reference). */
  checkNoTransaction(group: Group): void {
    const { deployedAt } = this.findAccelerator(this.findListener(group.listenerArn).acceleratorArn);
    if (Date.now() < deployedAt)
      throw new sdk.TransactionInProgressException({
        message: "There's already a transaction in progress. Another transaction can't be processed.",
        ...fault,
      });
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
    if (all.length >= this.quotas.groupsPerAccelerator)
      throw limit("endpoint groups", this.quotas.groupsPerAccelerator);
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
    const { arn, name, enabled, addresses, dnsName, created, changed, deployedAt } = accelerator;
    return {
      AcceleratorArn: arn,
      Name: name,
      IpAddressType: "IPV4" as const,
      Enabled: enabled,
      IpSets: [{ IpFamily: "IPv4", IpAddresses: addresses, IpAddressFamily: "IPv4" as const }],
      DnsName: dnsName,
      Status: Date.now() >= deployedAt ? ("DEPLOYED" as const) : ("IN_PROGRESS" as const),
      CreatedTime: created,
      LastModifiedTime: changed,
    };
  }
}
