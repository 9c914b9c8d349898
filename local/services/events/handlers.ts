/** EventBridge's operations, in AWS's shapes. */
import { randomUUID } from "node:crypto";
import * as sdk from "@aws-sdk/client-eventbridge";
import { AwsError } from "../../gateway/error.ts";
import { type Call, service } from "../../gateway/service.ts";
import { isJson } from "../../json.ts";
import type { BusEvent, Events, Rule } from "./events.ts";
import { type EventPattern, matchesPattern, parsePattern } from "./pattern.ts";

const entriesMax = 10;
const entryBytesMax = 262_144;

export function eventsService(events: Events) {
  const { account } = events.ports;
  return service<typeof sdk>({
    signingName: "events",
    protocol: "awsJson",
    sdk,
    contextOf: (operation, input) => {
      if (operation !== "PutEvents") return {};
      const entries = (input.Entries ?? []) as sdk.PutEventsRequestEntry[];
      const all = (member: "Source" | "DetailType") => [...new Set(entries.map((entry) => entry[member] ?? ""))];
      return { "events:source": all("Source"), "events:detail-type": all("DetailType") };
    },
    resourcesOf: (operation, input, { region }) => {
      const arn = (name: string) =>
        name.startsWith("arn:") ? name : `arn:aws:events:${region}:${account}:event-bus/${name}`;
      if (operation !== "PutEvents") return ["*"];
      const entries = (input.Entries ?? []) as sdk.PutEventsRequestEntry[];
      return [...new Set(entries.map((entry) => arn(entry.EventBusName ?? "default")))];
    },
    handlers: {
      PutEvents: (input, call) => putEvents(events, input, call),
      TestEventPattern: ({ EventPattern: text, Event }) => ({
        Result: matchesPattern(parsed(text), eventGiven(Event)),
      }),
      CreateEventBus: ({ Name }, { region }) => {
        if (events.buses.has(`${region} ${Name}`))
          throw new sdk.ResourceAlreadyExistsException({
            message: `Event bus ${Name} already exists.`,
            $metadata: {},
          });
        return { EventBusArn: events.createBus(region, Name!) };
      },
      DeleteEventBus: ({ Name }, { region }) => {
        if (Name === "default") throw new AwsError("ValidationException", "Cannot delete event bus default.");
        if ((events.buses.get(`${region} ${Name}`)?.rules.size ?? 0) > 0)
          throw new AwsError("ValidationException", "Event bus can't be deleted since it has rules.");
        events.buses.delete(`${region} ${Name}`);
      },
      DescribeEventBus: ({ Name }, { region }) => {
        const bus = events.bus(region, Name);
        return { Name: bus.name, Arn: bus.arn };
      },
      ListEventBuses: (_, { region }) => {
        events.createBus(region, "default");
        const here = [...events.buses].filter(([key]) => key.startsWith(`${region} `)).map(([, bus]) => bus);
        return { EventBuses: here.map(({ name, arn }) => ({ Name: name, Arn: arn })) };
      },
      PutRule: ({ Name, EventPattern: text, EventBusName, State, ScheduleExpression }, { region }) => {
        if (ScheduleExpression !== undefined || text === undefined)
          throw new AwsError(
            "ValidationException",
            "rules on a schedule are not implemented here: use a Scheduler schedule",
          );
        parsed(text);
        return { RuleArn: events.putRule(region, EventBusName ?? "default", Name!, text, State !== "DISABLED") };
      },
      DescribeRule: ({ Name, EventBusName }, { region }) => ruleShown(events.rule(region, EventBusName, Name!)),
      ListRules: ({ EventBusName, NamePrefix = "" }, { region }) => {
        const rules = [...events.bus(region, EventBusName).rules.values()].filter(({ name }) =>
          name.startsWith(NamePrefix),
        );
        return { Rules: rules.map(ruleShown) };
      },
      DeleteRule: ({ Name, EventBusName }, { region }) => {
        const { rules } = events.bus(region, EventBusName);
        if ((rules.get(Name!)?.targets.size ?? 0) > 0)
          throw new AwsError("ValidationException", "Rule can't be deleted since it has targets.");
        rules.delete(Name!);
      },
      EnableRule: ({ Name, EventBusName }, { region }) => {
        events.rule(region, EventBusName, Name!).enabled = true;
      },
      DisableRule: ({ Name, EventBusName }, { region }) => {
        events.rule(region, EventBusName, Name!).enabled = false;
      },
      PutTargets: ({ Rule: name, EventBusName, Targets = [] }, { region }) => {
        for (const target of Targets) events.putTarget(region, EventBusName ?? "default", name!, target);
        return { FailedEntryCount: 0, FailedEntries: [] };
      },
      RemoveTargets: ({ Rule: name, EventBusName, Ids = [] }, { region }) => {
        for (const id of Ids) events.rule(region, EventBusName, name!).targets.delete(id);
        return { FailedEntryCount: 0, FailedEntries: [] };
      },
      ListTargetsByRule: ({ Rule: name, EventBusName }, { region }) => ({
        Targets: [...events.rule(region, EventBusName, name!).targets.values()].map(({ id, arn, roleArn, input }) => ({
          Id: id,
          Arn: arn,
          RoleArn: roleArn,
          Input: input,
        })),
      }),
    },
  });
}

function putEvents(events: Events, { Entries = [] }: sdk.PutEventsCommandInput, call: Call) {
  if (Entries.length > entriesMax || Entries.length === 0)
    throw new AwsError("ValidationException", `PutEvents takes 1 to ${entriesMax} entries, got ${Entries.length}`);
  const results = Entries.map((entry) => putEntry(events, entry, call));
  return { FailedEntryCount: results.filter((result) => "ErrorCode" in result).length, Entries: results };
}

function putEntry(events: Events, entry: sdk.PutEventsRequestEntry, call: Call) {
  const refuse = (ErrorCode: string, ErrorMessage: string) => ({ ErrorCode, ErrorMessage });
  const { Source, DetailType, Detail } = entry;
  if (!Source || !DetailType || !Detail)
    return refuse("InvalidArgument", "Parameter Source, DetailType and Detail are required.");
  if (Buffer.byteLength(Source + DetailType + Detail) > entryBytesMax)
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
    events.publish(call.region, entry.EventBusName, event);
  } catch (error) {
    if (error instanceof sdk.ResourceNotFoundException) return refuse("NotFoundException", error.message);
    throw error;
  }
  return { EventId: id };
}

/** Parses a pattern. @throws AWS's error for an invalid pattern */
function parsed(text: string | undefined): EventPattern {
  try {
    return parsePattern(text ?? "");
  } catch (error) {
    throw new sdk.InvalidEventPatternException({ message: (error as Error).message, $metadata: {} });
  }
}

/** Parses the event of TestEventPattern, which must have all fields. */
function eventGiven(text: string | undefined): unknown {
  const event = isJson(text ?? "") ? (JSON.parse(text!) as Record<string, unknown> | null) : undefined;
  const missing = ["id", "account", "source", "time", "region", "detail-type"].filter(
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
