import {
  EventBridgeClient,
  ListRulesCommand,
  PutEventsCommand,
  PutRuleCommand,
  PutTargetsCommand,
  RemoveTargetsCommand,
  TestEventPatternCommand,
} from "@aws-sdk/client-eventbridge";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Faults } from "../../local/faults.ts";
import { profiles } from "../../local/latency.ts";
import { type BusEvent, Events } from "../../local/services/events/events.ts";
import { eventsService } from "../../local/services/events/handlers.ts";
import { matchesPattern, parsePattern } from "../../local/services/events/pattern.ts";
import { account, errorName, eventually, startGateway } from "./harness.ts";

// The examples of EventBridge's documentation, "Comparison operators for use in event patterns".
const event = {
  source: "aws.ec2",
  "detail-type": "EC2 Instance State-change Notification",
  region: "us-east-1",
  resources: ["arn:aws:ec2:us-east-1:123456789012:instance/i-000000aaaaaaaaaaa"],
  detail: {
    state: "terminated",
    name: "Alice",
    count: 5,
    ip: "10.0.0.7",
    nothing: null,
    empty: "",
    "file-name": "photo.png",
    nested: { deep: ["a", "b"] },
  },
};
const fits = (pattern: object, value: unknown = event) => matchesPattern(parsePattern(JSON.stringify(pattern)), value);

describe("event patterns", () => {
  it.each<[string, object, boolean]>([
    ["equals", { source: ["aws.ec2"] }, true],
    ["equals with another value", { source: ["aws.s3"] }, false],
    ["any of", { detail: { state: ["running", "terminated"] } }, true],
    ["null", { detail: { nothing: [null] } }, true],
    ["an empty string", { detail: { empty: [""] } }, true],
    ["one matching field of two", { source: ["aws.ec2"], region: ["eu-west-1"] }, false],
    ["prefix", { region: [{ prefix: "us-" }] }, true],
    ["an empty prefix, which every string has", { source: [{ prefix: "" }] }, true],
    ["an empty prefix of a number", { detail: { count: [{ prefix: "" }] } }, false],
    ["an empty prefix of a missing field", { detail: { missing: [{ prefix: "" }] } }, false],
    ["prefix, ignoring case", { source: [{ prefix: { "equals-ignore-case": "AWS" } }] }, true],
    ["suffix", { detail: { "file-name": [{ suffix: ".png" }] } }, true],
    ["suffix, ignoring case", { detail: { "file-name": [{ suffix: { "equals-ignore-case": ".PNG" } }] } }, true],
    ["equals-ignore-case", { detail: { name: [{ "equals-ignore-case": "alice" }] } }, true],
    ["anything-but", { detail: { state: [{ "anything-but": "running" }] } }, true],
    ["anything-but of a list", { detail: { state: [{ "anything-but": ["running", "terminated"] }] } }, false],
    ["anything-but prefix", { detail: { state: [{ "anything-but": { prefix: "term" } }] } }, false],
    ["anything-but suffix", { detail: { "file-name": [{ "anything-but": { suffix: ".txt" } }] } }, true],
    ["anything-but wildcard", { detail: { "file-name": [{ "anything-but": { wildcard: "*.png" } }] } }, false],
    [
      "anything-but ignoring case",
      { detail: { name: [{ "anything-but": { "equals-ignore-case": "ALICE" } }] } },
      false,
    ],
    ["anything-but of a missing field", { detail: { missing: [{ "anything-but": "x" }] } }, false],
    ["numeric", { detail: { count: [{ numeric: [">", 0, "<=", 5] }] } }, true],
    ["numeric outside", { detail: { count: [{ numeric: ["<", 5] }] } }, false],
    ["cidr", { detail: { ip: [{ cidr: "10.0.0.0/24" }] } }, true],
    ["cidr outside", { detail: { ip: [{ cidr: "10.0.1.0/24" }] } }, false],
    ["exists", { detail: { name: [{ exists: true }] } }, true],
    ["exists of a missing field", { detail: { missing: [{ exists: true }] } }, false],
    ["exists false of a missing field", { detail: { missing: [{ exists: false }] } }, true],
    ["exists false of an existing field", { detail: { name: [{ exists: false }] } }, false],
    ["wildcard", { resources: [{ wildcard: "arn:*:instance/i-*aaa" }] }, true],
    ["wildcard with a literal dot", { detail: { "file-name": [{ wildcard: "photo?png" }] } }, false],
    ["an item of a list", { detail: { nested: { deep: ["b"] } } }, true],
    ["$or", { $or: [{ source: ["aws.s3"] }, { detail: { count: [5] } }] }, true],
    ["$or without a match", { $or: [{ source: ["aws.s3"] }, { detail: { count: [6] } }] }, false],
  ])("%s gives $2", (_, pattern, expected) => {
    expect(fits(pattern)).toBe(expected);
  });

  it.each([
    ["a value that is not a list", { source: "aws.ec2" }],
    ["an unknown operator", { source: [{ like: "x" }] }],
    ["an empty list", { source: [] }],
    ["an operand of the wrong type", { detail: { name: [{ prefix: null }] } }],
    ["anything-but of an unknown operator", { detail: { name: [{ "anything-but": { bogus: "x" } }] } }],
    ["anything-but of an empty list", { detail: { name: [{ "anything-but": [] }] } }],
    ["a reversed numeric range", { detail: { count: [{ numeric: [">", 5, "<", 1] }] } }],
    ["an incomplete numeric pair", { detail: { count: [{ numeric: [">"] }] } }],
    ["an invalid address range", { detail: { ip: [{ cidr: "10.0.0.0" }] } }],
    ["an empty pattern", {}],
  ])("refuses %s", (_, pattern) => {
    expect(() => parsePattern(JSON.stringify(pattern))).toThrow("Event pattern is not valid");
  });
});

describe("EventBridge", () => {
  const delivered: { arn: string; event: BusEvent }[] = [];
  const gaveUp: string[] = [];
  let failures = 0;
  const faults = new Faults();
  const events = new Events({
    account,
    faults,
    latency: profiles.none,
    deliver: async (arn, input) => {
      if (failures > 0) {
        failures--;
        throw new Error("not now");
      }
      delivered.push({ arn, event: JSON.parse(input) as BusEvent });
    },
    onFault: (error) => gaveUp.push(String(error)),
  });
  let gateway: Awaited<ReturnType<typeof startGateway>>;
  let client: EventBridgeClient;
  const Arn = `arn:aws:lambda:us-west-2:${account}:function:f`;
  const send = (...Entries: object[]) => client.send(new PutEventsCommand({ Entries }));

  beforeAll(async () => {
    gateway = await startGateway([eventsService(events)]);
    client = new EventBridgeClient(gateway.client());
    await client.send(new PutRuleCommand({ Name: "orders", EventPattern: JSON.stringify({ source: ["shop"] }) }));
    await client.send(new PutTargetsCommand({ Rule: "orders", Targets: [{ Id: "1", Arn }] }));
  });
  afterAll(async () => {
    client.destroy();
    await events.stop();
    await gateway.close();
  });

  it("delivers events that match a rule, in AWS's envelope", async () => {
    await send(
      { Source: "shop", DetailType: "Order", Detail: '{"id":1}' },
      { Source: "bank", DetailType: "Order", Detail: '{"id":2}' },
    );
    await eventually(
      () => delivered.length,
      (count) => count === 1,
    );
    expect(delivered[0]?.event).toMatchObject({
      version: "0",
      source: "shop",
      "detail-type": "Order",
      account,
      region: "us-west-2",
      resources: [],
      detail: { id: 1 },
    });
    expect(delivered[0]?.event.time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  });

  it("forwards from one region's bus to another's", async () => {
    events.createBus("us-west-2", "home");
    events.putRule("eu-west-3", "default", "forward", JSON.stringify({ source: ["edge"] }));
    events.putTarget("eu-west-3", "default", "forward", {
      Id: "home",
      Arn: `arn:aws:events:us-west-2:${account}:event-bus/home`,
    });
    events.putRule("us-west-2", "home", "take", JSON.stringify({ source: ["edge"] }));
    events.putTarget("us-west-2", "home", "take", { Id: "f", Arn: `${Arn}2` });
    const far = new EventBridgeClient(gateway.client("admin", "eu-west-3"));
    await far.send(new PutEventsCommand({ Entries: [{ Source: "edge", DetailType: "Report", Detail: "{}" }] }));
    far.destroy();
    await eventually(
      () => delivered.filter(({ arn }) => arn === `${Arn}2`),
      (found) => found.length === 1 && found[0]?.event.region === "eu-west-3",
    );
  });

  it("keeps working when a bus targets itself or a target bus does not exist", async () => {
    events.createBus("us-west-2", "ouroboros");
    const target = (name: string) => ({ Id: name, Arn: `arn:aws:events:us-west-2:${account}:event-bus/${name}` });
    for (const name of ["ouroboros", "gone"]) {
      events.putRule("us-west-2", "ouroboros", `to-${name}`, JSON.stringify({ source: ["snake"] }));
      events.putTarget("us-west-2", "ouroboros", `to-${name}`, target(name));
    }
    const sent = await send(
      { Source: "snake", DetailType: "Bite", Detail: "{}", EventBusName: "ouroboros" },
      { Source: "x", DetailType: "y", Detail: "{}", EventBusName: "nowhere" },
    );
    expect(sent.Entries?.map(({ ErrorCode }) => ErrorCode)).toEqual([undefined, "NotFoundException"]);
    await eventually(
      () => gaveUp.length,
      (count) => count >= 2,
    );
    expect(gaveUp.join()).toMatch(/does not exist.*/);
    expect(gaveUp.join()).toMatch(/from bus to bus 8 times/);
  });

  it("retries when a target fails, and delivers twice if configured", async () => {
    const before = delivered.length;
    failures = 1;
    await send({ Source: "shop", DetailType: "Order", Detail: '{"id":3}' });
    await eventually(
      () => delivered.length,
      (count) => count === before + 1,
    );
    faults.rates.duplicates = 1;
    await send({ Source: "shop", DetailType: "Order", Detail: '{"id":4}' });
    faults.rates.duplicates = 0;
    await eventually(
      () => delivered.length,
      (count) => count === before + 3,
    );
    expect(delivered.at(-1)?.event.id).toBe(delivered.at(-2)?.event.id);
  });

  it("refuses each bad entry separately", async () => {
    const answer = await send(
      { Source: "shop", DetailType: "Order", Detail: "not JSON" },
      { Source: "aws.ec2", DetailType: "x", Detail: "{}" },
      { Source: "x", DetailType: "x", Detail: "{}" },
    );
    expect(answer.FailedEntryCount).toBe(2);
    expect(answer.Entries?.map(({ ErrorCode }) => ErrorCode)).toEqual([
      "MalformedDetail",
      "NotAuthorizedForSourceException",
      undefined,
    ]);
    expect(
      await errorName(send(...Array.from({ length: 11 }, () => ({ Source: "s", DetailType: "d", Detail: "{}" })))),
    ).toBe("ValidationException");
  });

  it("tests patterns, refuses bad ones, and lists rules", async () => {
    const test = (pattern: string) =>
      client.send(
        new TestEventPatternCommand({
          EventPattern: pattern,
          Event: JSON.stringify({ id: "1", account, time: "2026-01-01T00:00:00Z", ...event }),
        }),
      );
    expect((await test('{"source":["aws.ec2"]}')).Result).toBe(true);
    expect((await test('{"detail":{"state":[{"prefix":""}]}}')).Result).toBe(true);
    expect(await errorName(test('{"source":"aws.ec2"}'))).toBe("InvalidEventPatternException");
    expect((await client.send(new ListRulesCommand({}))).Rules?.map(({ Name }) => Name)).toEqual(["orders"]);
    await client.send(new RemoveTargetsCommand({ Rule: "orders", Ids: ["1"] }));
  });

  it("tests an event without resources, as the API reference's own example has it (API reference, TestEventPattern)", async () => {
    const { resources: _, ...rest } = event;
    const Event = JSON.stringify({ id: "1", account, time: "2026-01-01T00:00:00Z", ...rest });
    const EventPattern = '{"source":["aws.ec2"]}';
    expect((await client.send(new TestEventPatternCommand({ EventPattern, Event }))).Result).toBe(true);
    const { source: __, ...sourceless } = rest;
    const bad = JSON.stringify({ id: "1", account, time: "2026-01-01T00:00:00Z", ...sourceless });
    expect(await errorName(client.send(new TestEventPatternCommand({ EventPattern, Event: bad })))).toBe(
      "ValidationException",
    );
  });
});
