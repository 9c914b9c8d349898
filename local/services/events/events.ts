/** EventBridge: a default bus in every region, custom buses, rules, targets, forwarding; at-least-once delivery. */
import { setImmediate } from "node:timers/promises";
import * as sdk from "@aws-sdk/client-eventbridge";
import type { Faults } from "../../faults.ts";
import { AwsError } from "../../gateway/error.ts";
import { isJson } from "../../json.ts";
import { type Latency, wait } from "../../latency.ts";
import { type EventPattern, matchesPattern, parsePattern } from "./pattern.ts";

export interface BusEvent {
  version: "0";
  id: string;
  "detail-type": string;
  source: string;
  account: string;
  time: string;
  region: string;
  resources: string[];
  detail: unknown;
}

export interface Rule {
  name: string;
  arn: string;
  text: string;
  pattern: EventPattern;
  enabled: boolean;
  targets: Map<string, Target>;
}
interface Target {
  id: string;
  arn: string;
  roleArn: string | undefined;
  input: string | undefined;
  retries: number;
  maxAgeMs: number;
}
interface Bus {
  name: string;
  arn: string;
  rules: Map<string, Rule>;
}

/** By which right a target is reached: its role, or the policy of a function that names the rule. */
export interface Via {
  roleArn: string | undefined;
  sourceArn: string;
}

export interface EventsPorts {
  account: string;
  latency: Latency;
  /** Delivers an event's JSON to a target other than a bus: a function or a state machine. */
  deliver(arn: string, input: string, via: Via): Promise<void>;
  /** @throws when the target's role may not put events on the bus */
  checkForward?(busArn: string, via: Via): void;
  faults?: Faults;
  onFault(error: unknown, what: string): void;
}

const retryMs = 500;
/** An event that passed through this many buses is in a loop. */
const hopsMax = 8;
const targetsMax = 5;
const defaultRetries = 185;
const defaultAgeMs = 24 * 3600 * 1000;

export class Events {
  readonly ports: EventsPorts;
  /** By region and name. */
  readonly buses = new Map<string, Bus>();
  /** Deliveries under way. */
  readonly #pending = new Set<Promise<void>>();
  #stopped = false;
  constructor(ports: EventsPorts) {
    this.ports = ports;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.allSettled([...this.#pending]);
  }

  createBus(region: string, name: string): string {
    const arn = `arn:aws:events:${region}:${this.ports.account}:event-bus/${name}`;
    if (!this.buses.has(`${region} ${name}`)) this.buses.set(`${region} ${name}`, { name, arn, rules: new Map() });
    return arn;
  }

  putRule(region: string, busName: string, name: string, text: string, enabled = true): string {
    const bus = this.bus(region, busName);
    const pattern = parsePattern(text);
    const path = bus.name === "default" ? name : `${bus.name}/${name}`;
    const arn = `arn:aws:events:${region}:${this.ports.account}:rule/${path}`;
    const targets = bus.rules.get(name)?.targets ?? new Map<string, Target>();
    bus.rules.set(name, { name, arn, text, pattern, enabled, targets });
    return arn;
  }

  putTarget(
    region: string,
    busName: string,
    rule: string,
    { Id, Arn, RoleArn, Input, RetryPolicy, ...rest }: sdk.Target,
  ): void {
    const refuse = (message: string): never => {
      throw new AwsError("ValidationException", message);
    };
    const odd = Object.entries(rest).find(([, value]) => value !== undefined);
    if (odd !== undefined) refuse(`a target's ${odd[0]} is not implemented here`);
    if (!/^arn:aws:(events:.*:event-bus\/|lambda:.*:function:|states:.*:stateMachine:)/.test(Arn ?? ""))
      refuse(`${Arn} is not implemented as a target here: use a bus, a function or a state machine`);
    if (Arn!.includes(":stateMachine:") && RoleArn === undefined) refuse(`RoleArn is required for target ${Arn}.`);
    if (Input !== undefined && !isJson(Input)) refuse(`Input for target ${Id} is not JSON.`);
    const { arn, targets } = this.rule(region, busName, rule);
    if (!targets.has(Id!) && targets.size >= targetsMax)
      throw new sdk.LimitExceededException({
        message: `Rule ${arn} has ${targetsMax} targets already.`,
        $metadata: {},
      });
    this.rule(region, busName, rule).targets.set(Id!, {
      id: Id!,
      arn: Arn!,
      roleArn: RoleArn,
      input: Input,
      retries: RetryPolicy?.MaximumRetryAttempts ?? defaultRetries,
      maxAgeMs:
        RetryPolicy?.MaximumEventAgeInSeconds === undefined
          ? defaultAgeMs
          : RetryPolicy.MaximumEventAgeInSeconds * 1000,
    });
  }

  bus(region: string, nameOrArn = "default"): Bus {
    const name = nameOrArn.startsWith("arn:") ? nameOrArn.slice(nameOrArn.lastIndexOf("/") + 1) : nameOrArn;
    if (name === "default") this.createBus(region, "default");
    const bus = this.buses.get(`${region} ${name}`);
    if (bus === undefined)
      throw new sdk.ResourceNotFoundException({ message: `Event bus ${name} does not exist.`, $metadata: {} });
    return bus;
  }

  rule(region: string, busName: string | undefined, name: string): Rule {
    const bus = this.bus(region, busName);
    const rule = bus.rules.get(name);
    if (rule === undefined)
      throw new sdk.ResourceNotFoundException({
        message: `Rule ${name} does not exist on EventBus ${bus.name}.`,
        $metadata: {},
      });
    return rule;
  }

  /** Receives an event on a bus, and sends it to every target of every rule that matches it. */
  publish(region: string, busName: string | undefined, event: BusEvent, hops = 0): void {
    const bus = this.bus(region, busName);
    for (const rule of bus.rules.values()) {
      if (!rule.enabled || !matchesPattern(rule.pattern, event)) continue;
      for (const target of rule.targets.values()) {
        const copies = this.ports.faults?.happens("duplicates") ? 2 : 1;
        for (let copy = 0; copy < copies; copy++) this.#track(this.#send(target, event, hops, rule.arn));
      }
    }
  }

  #track(delivery: Promise<void>): void {
    const done = delivery.catch((error) => this.ports.onFault(error, "event delivery"));
    this.#pending.add(done);
    void done.finally(() => this.#pending.delete(done));
  }

  async #send(target: Target, event: BusEvent, hops: number, sourceArn: string): Promise<void> {
    const began = Date.now();
    const via = { roleArn: target.roleArn, sourceArn };
    const bus = /^arn:aws:events:([^:]+):[^:]*:event-bus\/(.+)$/.exec(target.arn);
    await wait(this.ports.latency.busMs / (bus === null ? 1 : 2));
    await setImmediate(); // a bus that forwards to itself must not block everything else
    for (let attempt = 0; !this.#stopped; attempt++) {
      try {
        if (bus === null) return await this.ports.deliver(target.arn, target.input ?? JSON.stringify(event), via);
        if (hops >= hopsMax) throw new Error(`it went from bus to bus ${hops} times`);
        this.ports.checkForward?.(target.arn, via);
        return this.publish(bus[1]!, bus[2], event, hops + 1);
      } catch (error) {
        if (this.#stopped) return;
        if (bus !== null || attempt >= target.retries || Date.now() - began > target.maxAgeMs) {
          this.ports.onFault(error, `gave up the delivery of event ${event["detail-type"]} to ${target.arn}`);
          return;
        }
        await wait(retryMs);
      }
    }
  }
}
