/** EventBridge: a default bus in every region and custom ones, rules, targets, forwarding; at least once. */
import { randomUUID } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import * as sdk from "@aws-sdk/client-eventbridge";
import { AwsError, type Call, service } from "../../gateway/service.ts";
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

interface Rule {
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

export interface EventsPorts {
  account: string;
  latency: Latency;
  /** Delivers an event's JSON to what is not a bus: a function, a state machine. */
  deliver(arn: string, input: string, roleArn: string | undefined): Promise<void>;
  onFault(error: unknown, what: string): void;
}

const entriesMost = 10;
const entryBytesMost = 262_144;
const retryMs = 500;
/** An event that went through so many buses goes in a circle. */
const hopsMost = 8;
const targetsMost = 5;
const defaultRetries = 185;
const defaultAgeMs = 24 * 3600 * 1000;

export class Events {
  readonly #ports: EventsPorts;
  /** By region and name. */
  readonly #buses = new Map<string, Bus>();
  /** Deliveries under way. */
  readonly #pending = new Set<Promise<void>>();
  #stopped = false;
  /** Delivers this share of events twice: at least once is what AWS promises. */
  duplicateShare = 0;

  constructor(ports: EventsPorts) {
    this.#ports = ports;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.allSettled([...this.#pending]);
  }

  createBus(region: string, name: string): string {
    const arn = `arn:aws:events:${region}:${this.#ports.account}:event-bus/${name}`;
    if (!this.#buses.has(`${region} ${name}`)) this.#buses.set(`${region} ${name}`, { name, arn, rules: new Map() });
    return arn;
  }

  putRule(region: string, busName: string, name: string, text: string, enabled = true): string {
    const bus = this.#bus(region, busName);
    const pattern = parsePattern(text);
    const path = bus.name === "default" ? name : `${bus.name}/${name}`;
    const arn = `arn:aws:events:${region}:${this.#ports.account}:rule/${path}`;
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
      refuse(`${Arn} is not a kind of target that is implemented here: a bus, a function or a state machine`);
    if (Arn!.includes(":stateMachine:") && RoleArn === undefined) refuse(`RoleArn is required for target ${Arn}.`);
    if (Input !== undefined && !isJson(Input)) refuse(`Input for target ${Id} is not JSON.`);
    const { arn, targets } = this.#rule(region, busName, rule);
    if (!targets.has(Id!) && targets.size >= targetsMost)
      throw new sdk.LimitExceededException({
        message: `Rule ${arn} has ${targetsMost} targets already.`,
        $metadata: {},
      });
    this.#rule(region, busName, rule).targets.set(Id!, {
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

  #bus(region: string, nameOrArn = "default"): Bus {
    const name = nameOrArn.startsWith("arn:") ? nameOrArn.slice(nameOrArn.lastIndexOf("/") + 1) : nameOrArn;
    if (name === "default") this.createBus(region, "default");
    const bus = this.#buses.get(`${region} ${name}`);
    if (bus === undefined)
      throw new sdk.ResourceNotFoundException({ message: `Event bus ${name} does not exist.`, $metadata: {} });
    return bus;
  }

  #rule(region: string, busName: string | undefined, name: string): Rule {
    const bus = this.#bus(region, busName);
    const rule = bus.rules.get(name);
    if (rule === undefined)
      throw new sdk.ResourceNotFoundException({
        message: `Rule ${name} does not exist on EventBus ${bus.name}.`,
        $metadata: {},
      });
    return rule;
  }

  /** Takes an event in on a bus, and sends it on to every target of every rule that it fits. */
  publish(region: string, busName: string | undefined, event: BusEvent, hops = 0): void {
    const bus = this.#bus(region, busName);
    for (const rule of bus.rules.values()) {
      if (!rule.enabled || !matchesPattern(rule.pattern, event)) continue;
      for (const target of rule.targets.values()) {
        const copies = Math.random() < this.duplicateShare ? 2 : 1;
        for (let copy = 0; copy < copies; copy++) this.#track(this.#send(target, event, hops));
      }
    }
  }

  #track(delivery: Promise<void>): void {
    const done = delivery.catch((error) => this.#ports.onFault(error, "event delivery"));
    this.#pending.add(done);
    void done.finally(() => this.#pending.delete(done));
  }

  async #send(target: Target, event: BusEvent, hops: number): Promise<void> {
    const began = Date.now();
    const bus = /^arn:aws:events:([^:]+):[^:]*:event-bus\/(.+)$/.exec(target.arn);
    await wait(this.#ports.latency.busMs / (bus === null ? 1 : 2));
    await setImmediate(); // a bus that feeds itself must not starve everything else
    for (let attempt = 0; !this.#stopped; attempt++) {
      try {
        if (bus === null)
          return await this.#ports.deliver(target.arn, target.input ?? JSON.stringify(event), target.roleArn);
        if (hops >= hopsMost) throw new Error(`it went from bus to bus ${hops} times`);
        return this.publish(bus[1]!, bus[2], event, hops + 1);
      } catch (error) {
        if (this.#stopped) return;
        if (bus !== null || attempt >= target.retries || Date.now() - began > target.maxAgeMs) {
          this.#ports.onFault(error, `event ${event["detail-type"]} to ${target.arn} given up`);
          return;
        }
        await wait(retryMs);
      }
    }
  }

  service() {
    const { account } = this.#ports;
    return service<typeof sdk>({
      signingName: "events",
      protocol: "awsJson",
      sdk,
      resourcesOf: (operation, input, { region }) => {
        const arn = (name: string) =>
          name.startsWith("arn:") ? name : `arn:aws:events:${region}:${account}:event-bus/${name}`;
        if (operation !== "PutEvents") return ["*"];
        const entries = (input.Entries ?? []) as sdk.PutEventsRequestEntry[];
        return [...new Set(entries.map((entry) => arn(entry.EventBusName ?? "default")))];
      },
      handlers: {
        PutEvents: (input, call) => this.#putEvents(input, call),
        TestEventPattern: ({ EventPattern: text, Event }) => ({
          Result: matchesPattern(parsed(text), eventGiven(Event)),
        }),
        CreateEventBus: ({ Name }, { region }) => {
          if (this.#buses.has(`${region} ${Name}`))
            throw new sdk.ResourceAlreadyExistsException({
              message: `Event bus ${Name} already exists.`,
              $metadata: {},
            });
          return { EventBusArn: this.createBus(region, Name!) };
        },
        DeleteEventBus: ({ Name }, { region }) => {
          if (Name === "default") throw new AwsError("ValidationException", "Cannot delete event bus default.");
          if ((this.#buses.get(`${region} ${Name}`)?.rules.size ?? 0) > 0)
            throw new AwsError("ValidationException", "Event bus can't be deleted since it has rules.");
          this.#buses.delete(`${region} ${Name}`);
        },
        DescribeEventBus: ({ Name }, { region }) => {
          const bus = this.#bus(region, Name);
          return { Name: bus.name, Arn: bus.arn };
        },
        ListEventBuses: (_, { region }) => {
          this.createBus(region, "default");
          const here = [...this.#buses].filter(([key]) => key.startsWith(`${region} `)).map(([, bus]) => bus);
          return { EventBuses: here.map(({ name, arn }) => ({ Name: name, Arn: arn })) };
        },
        PutRule: ({ Name, EventPattern: text, EventBusName, State, ScheduleExpression }, { region }) => {
          if (ScheduleExpression !== undefined || text === undefined)
            throw new AwsError(
              "ValidationException",
              "rules on a schedule are not implemented here: use a Scheduler schedule",
            );
          parsed(text);
          return { RuleArn: this.putRule(region, EventBusName ?? "default", Name!, text, State !== "DISABLED") };
        },
        DescribeRule: ({ Name, EventBusName }, { region }) => ruleShown(this.#rule(region, EventBusName, Name!)),
        ListRules: ({ EventBusName, NamePrefix = "" }, { region }) => {
          const rules = [...this.#bus(region, EventBusName).rules.values()].filter(({ name }) =>
            name.startsWith(NamePrefix),
          );
          return { Rules: rules.map(ruleShown) };
        },
        DeleteRule: ({ Name, EventBusName }, { region }) => {
          const { rules } = this.#bus(region, EventBusName);
          if ((rules.get(Name!)?.targets.size ?? 0) > 0)
            throw new AwsError("ValidationException", "Rule can't be deleted since it has targets.");
          rules.delete(Name!);
        },
        EnableRule: ({ Name, EventBusName }, { region }) => {
          this.#rule(region, EventBusName, Name!).enabled = true;
        },
        DisableRule: ({ Name, EventBusName }, { region }) => {
          this.#rule(region, EventBusName, Name!).enabled = false;
        },
        PutTargets: ({ Rule: name, EventBusName, Targets = [] }, { region }) => {
          for (const target of Targets) this.putTarget(region, EventBusName ?? "default", name!, target);
          return { FailedEntryCount: 0, FailedEntries: [] };
        },
        RemoveTargets: ({ Rule: name, EventBusName, Ids = [] }, { region }) => {
          for (const id of Ids) this.#rule(region, EventBusName, name!).targets.delete(id);
          return { FailedEntryCount: 0, FailedEntries: [] };
        },
        ListTargetsByRule: ({ Rule: name, EventBusName }, { region }) => ({
          Targets: [...this.#rule(region, EventBusName, name!).targets.values()].map(({ id, arn, roleArn, input }) => ({
            Id: id,
            Arn: arn,
            RoleArn: roleArn,
            Input: input,
          })),
        }),
      },
    });
  }

  #putEvents({ Entries = [] }: sdk.PutEventsCommandInput, call: Call) {
    if (Entries.length > entriesMost || Entries.length === 0)
      throw new AwsError("ValidationException", `PutEvents takes 1 to ${entriesMost} entries, got ${Entries.length}`);
    const results = Entries.map((entry) => this.#putEntry(entry, call));
    return { FailedEntryCount: results.filter((result) => "ErrorCode" in result).length, Entries: results };
  }

  #putEntry(entry: sdk.PutEventsRequestEntry, call: Call) {
    const refuse = (ErrorCode: string, ErrorMessage: string) => ({ ErrorCode, ErrorMessage });
    const { Source, DetailType, Detail } = entry;
    if (!Source || !DetailType || !Detail)
      return refuse("InvalidArgument", "Parameter Source, DetailType and Detail are required.");
    if (Buffer.byteLength(Source + DetailType + Detail) > entryBytesMost)
      return refuse("InvalidArgument", "Total size of the entries in the request is over the limit.");
    if (Source.startsWith("aws.")) return refuse("NotAuthorizedForSourceException", "Not authorized for the source.");
    let detail: unknown;
    try {
      detail = JSON.parse(Detail);
    } catch {
      return refuse("MalformedDetail", "Detail is malformed.");
    }
    if (detail === null || typeof detail !== "object" || Array.isArray(detail))
      return refuse("MalformedDetail", "Detail is malformed.");
    const id = randomUUID();
    const time = (entry.Time ?? new Date()).toISOString().replace(/\.\d+Z$/, "Z"); // whole seconds, as AWS writes it
    const event: BusEvent = {
      version: "0",
      id,
      "detail-type": DetailType,
      source: Source,
      account: call.account,
      time,
      region: call.region,
      resources: entry.Resources ?? [],
      detail,
    };
    try {
      this.publish(call.region, entry.EventBusName, event);
    } catch (error) {
      if (error instanceof sdk.ResourceNotFoundException) return refuse("NotFoundException", error.message);
      throw error;
    }
    return { EventId: id };
  }
}

/** A pattern, or AWS's error for one that is not. */
function parsed(text: string | undefined): EventPattern {
  try {
    return parsePattern(text ?? "");
  } catch (error) {
    throw new sdk.InvalidEventPatternException({ message: (error as Error).message, $metadata: {} });
  }
}

/** An event as TestEventPattern takes it: whole. */
function eventGiven(text: string | undefined): unknown {
  const event = isJson(text ?? "") ? (JSON.parse(text!) as Record<string, unknown> | null) : undefined;
  const missing = ["id", "account", "source", "time", "region", "resources", "detail-type"].filter(
    (field) => event?.[field] === undefined,
  );
  if (event === undefined || missing.length > 0)
    throw new AwsError(
      "ValidationException",
      `Parameter Event is not valid. Reason: it needs ${missing.join(", ") || "to be JSON"}`,
    );
  return event;
}

const ruleShown = ({ name, arn, text, enabled }: Rule) => ({
  Name: name,
  Arn: arn,
  EventPattern: text,
  State: enabled ? ("ENABLED" as const) : ("DISABLED" as const),
});
