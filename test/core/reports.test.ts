import { describe, expect, it } from "vitest";
import { mayFree } from "../../core/audit/tombstones.ts";
import { type Edge, isBeat, isGone, isReady, mergeBeat, mergeReport } from "../../core/edges/edge.ts";
import {
  actionOnSilentEdge,
  isSilent,
  type SilentFacts,
  unheardEdge,
  unknownEndpoints,
} from "../../core/edges/forget.ts";
import { type Instance, identityOf } from "../../core/edges/identity.ts";
import { credible, lastReports } from "../../core/edges/reports.ts";
import { edgeLimits } from "../../schemas/limits.ts";
import { type EdgeReport, reportItem, writerOf } from "../../schemas/report.ts";
import { edge, now } from "../fixtures/edge.ts";
import { fleet } from "../fixtures/fleet.ts";

const report = (changes: Partial<EdgeReport> = {}): EdgeReport => ({
  region: "us-west-2",
  at: 10,
  changedAt: 10,
  appliedGeneration: 5,
  serving: true,
  rejectedRoutes: [],
  ...changes,
});

describe("identityOf", () => {
  const cell = fleet.cells[0]!;
  const region = cell.regions[0]!;
  const instance = (changes: Partial<Instance> = {}): Instance => ({
    state: "running",
    address: "10.0.0.9",
    tags: { "landfall:stage": fleet.stage, "landfall:cell": cell.name },
    ...changes,
  });

  it("takes cell, region and address from what EC2 says of the instance", () => {
    expect(identityOf("i-1", region, instance(), fleet)).toEqual({
      edgeId: "i-1",
      cell: cell.name,
      region,
      address: "10.0.0.9",
    });
  });

  it.each([
    ["an instance that EC2 does not know", undefined, "unknown instance"],
    ["a terminated one", instance({ state: "terminated" }), "terminated instance"],
    ["one that shuts down", instance({ state: "shutting-down" }), "terminated instance"],
    [
      "one of another stage",
      instance({ tags: { "landfall:stage": "other", "landfall:cell": cell.name } }),
      "instance of another stage",
    ],
    ["one without tags", instance({ tags: {} }), "instance of another stage"],
    [
      "one of a cell that the fleet does not have",
      instance({ tags: { "landfall:stage": fleet.stage, "landfall:cell": "c9" } }),
      "instance of no cell",
    ],
    ["one without an address", instance({ address: undefined }), "unknown instance"],
  ])("does not count %s", (_, found, reason) => {
    expect(identityOf("i-1", region, found, fleet)).toBe(reason);
  });

  it("does not count an instance in a region that its cell does not have", () => {
    expect(identityOf("i-1", "sa-east-1", instance(), fleet)).toBe("instance of no cell");
  });
});

describe("lastReports", () => {
  const record = (writer: string, text: string, reportedAt = 1) => ({ writer, text, reportedAt });
  const text = (at: number) => JSON.stringify(report({ at }));

  it("takes the last report of each writer", () => {
    const { reports } = lastReports([record("a", text(1)), record("b", text(2)), record("a", text(3))]);
    expect(reports.map(({ writer, report }) => [writer, report.at])).toEqual([
      ["a", 3],
      ["b", 2],
    ]);
  });

  it.each([
    ["no JSON", "{"],
    ["nothing", ""],
    ["another shape", JSON.stringify({ ...report(), serving: "yes" })],
    ["a reason of a megabyte", JSON.stringify(report({ nack: { generation: 1, reason: "x".repeat(1e6) } }))],
  ])("sets %s aside, and keeps the other writers' reports", (_, bad) => {
    expect(lastReports([record("a", bad), record("b", text(2))])).toMatchObject({
      malformed: ["a"],
      reports: [{ writer: "b" }],
    });
  });
});

describe("credible", () => {
  const facts = { live: 7, known: 4, isTenant: (id: string) => id === "acme" };
  const refusal = (tenantId: string) => ({ tenantId, slot: 1, reason: "r" });

  it("takes a report that says nothing impossible as it is", () => {
    const said = report({ appliedGeneration: 7, rejectedRoutes: [refusal("acme")] });
    expect(credible(said, facts)).toEqual({ report: said, doubts: [] });
  });

  it("takes the generation that is known already, for which the live commit was not read", () => {
    const said = report({ appliedGeneration: 4 });
    expect(credible(said, { ...facts, live: 0 })).toEqual({ report: said, doubts: [] });
  });

  it("keeps the known generation in place of one that was never committed", () => {
    expect(credible(report({ appliedGeneration: 8 }), facts)).toMatchObject({
      report: { appliedGeneration: 4 },
      doubts: ["generation above the live commit"],
    });
  });

  it("looks at a report again whose words were doubted: the ledger may have been restored to an earlier time", () => {
    const said = report({ appliedGeneration: 8, changedAt: 5 });
    const doubted = credible(said, facts).report;
    expect(isBeat(edge("a", { changedAt: doubted.changedAt }), said)).toBe(false);
    const taken = credible(said, { ...facts, live: 8 }).report;
    expect(isBeat(edge("a", { changedAt: taken.changedAt }), said)).toBe(true);
  });

  it("leaves out refusals of tenants that do not exist", () => {
    expect(credible(report({ rejectedRoutes: [refusal("acme"), refusal("nobody")] }), facts)).toMatchObject({
      report: { rejectedRoutes: [refusal("acme")] },
      doubts: ["refusal of an unknown tenant's route"],
    });
  });
});

describe("reportItem", () => {
  it("has the writer's id as its key, and says whether the report has news", () => {
    const { id, beat } = reportItem("AROA1", "i-2", report());
    expect([id.S, writerOf(id.S), beat.BOOL]).toEqual(["AROA1:i-2", "i-2", false]);
    expect(reportItem("AROA1", "i-2", report({ at: 11 })).beat.BOOL).toBe(true);
  });
});

describe("actionOnSilentEdge", () => {
  const long = now - edgeLimits.giveUpMs - 1;
  const silent = edge("silent", { reportedAt: long });
  const others = ["a", "b", "c"].map((id) => edge(id, { reportedAt: now }));
  const facts = (changes: Partial<SilentFacts> = {}): SilentFacts => ({
    edge: silent,
    edges: [silent, ...others],
    attached: new Set(["silent", "a", "b", "c"]),
    serving: new Set(["silent", "a", "b", "c"]),
    isTerminated: false,
    now,
    ...changes,
  });

  it("marks a terminated edge while the accelerator has it, and then forgets it", () => {
    expect(actionOnSilentEdge(facts({ isTerminated: true }))).toBe("mark");
    expect(actionOnSilentEdge(facts({ isTerminated: true, attached: new Set() }))).toBe("forget");
  });

  it("gives up an edge that is silent for long while the others report, detaches it, and then terminates it", () => {
    expect(actionOnSilentEdge(facts())).toBe("give up");
    const givenUp = { ...silent, givenUp: true as const };
    expect(actionOnSilentEdge(facts({ edge: givenUp }))).toBe("counts");
    expect(actionOnSilentEdge(facts({ edge: givenUp, attached: new Set(["a"]) }))).toBe("terminate");
  });

  it.each<[string, Partial<SilentFacts>]>([
    ["it was silent for a short time", { edge: { ...silent, reportedAt: long + 2 } }],
    ["nobody else reports", { edges: [silent, ...others.map((other) => ({ ...other, reportedAt: long }))] }],
    [
      "fewer than two thirds of the others report",
      { edges: [silent, ...others, edge("d", { reportedAt: 0 }), edge("e", { reportedAt: 0 })] },
    ],
    [
      "no other edge of its region reports",
      { edges: [silent, ...others.map((other) => ({ ...other, region: "eu-west-3" }))] },
    ],
    ["the accelerator sends users to no other edge of its region", { serving: new Set(["silent"]) }],
    ["another edge is given up", { edges: [silent, ...others, edge("d", { givenUp: true })] }],
    ["another edge is terminated", { edges: [silent, ...others, edge("d", { terminated: true })] }],
    ["it is the only edge", { edges: [silent] }],
  ])("does nothing while %s", (_, changes) => {
    expect(actionOnSilentEdge(facts(changes))).toBe("counts");
  });

  it("takes an edge back that reports again", () => {
    const report = {
      region: "us-west-2",
      at: now,
      changedAt: now,
      appliedGeneration: 7,
      serving: true,
      rejectedRoutes: [],
    };
    const givenUp = { ...silent, givenUp: true as const, changedAt: now };
    const identity = { edgeId: "silent", cell: "c1", region: "us-west-2", address: "10.0.0.9" };
    expect(mergeBeat(givenUp, { writer: "w", report, reportedAt: now })).not.toHaveProperty("givenUp");
    expect(mergeReport(givenUp, identity, { writer: "w", report, reportedAt: now }, now)).not.toHaveProperty("givenUp");
  });
});

describe("unknownEndpoints", () => {
  it("are instances that the accelerator has and the ledger does not: a restored ledger forgot them", () => {
    const endpoint = (edgeId: string) => ({ edgeId, weight: 128, health: "HEALTHY" as const });
    const endpoints = [endpoint("i-1"), endpoint("i-2"), endpoint("arn:aws:elasticloadbalancing:x")];
    const groups = [{ region: "us-west-2", arn: "g", dial: 100, endpoints }];
    expect(unknownEndpoints(groups, [edge("i-1")])).toEqual([{ edgeId: "i-2", region: "us-west-2" }]);
  });
  it("whose instances are terminated are edges that must leave the accelerator, and are never ready", () => {
    const marked = unheardEdge({ edgeId: "i-2", cell: "c1", region: "us-west-2" }, { isTerminated: true, now });
    expect([isGone(marked), isReady(marked), isSilent(marked, now)]).toEqual([true, false, true]);
  });
  it("whose instances run may serve anything until they report: nothing is freed before", () => {
    const marked = unheardEdge({ edgeId: "i-2", cell: "c1", region: "us-west-2" }, { isTerminated: false, now });
    expect([isGone(marked), isReady(marked), isSilent(marked, now)]).toEqual([false, false, false]);
    const facts = { edges: [marked as Edge], publishedFrom: 7, coolOffMs: 0, now };
    expect(mayFree({ cell: "c1", tenantId: "acme", at: 0, absentFrom: 1 }, facts)).toBe(false);
  });
});

describe("an edge that is heard for the first time", () => {
  const identity = { edgeId: "late", cell: "c1", region: "us-west-2", address: "10.0.0.9" };
  const heard = (known: Edge | undefined, generation: number, joinsFrom?: number, at = 10) =>
    mergeReport(
      known,
      identity,
      { writer: "w", report: report({ appliedGeneration: generation, at }), reportedAt: now },
      now,
      joinsFrom,
    );

  it("takes no users before it serves the generation that was live then: what it serves may have been freed", () => {
    const first = heard(undefined, 5, 7);
    expect([first.joinsFrom, isReady(first)]).toEqual([7, false]);
    const second = heard(first, 6, first.joinsFrom, 20);
    expect([second.joinsFrom, isReady(second)]).toEqual([7, false]);
    const third = heard(second, 7, second.joinsFrom, 30);
    expect([third.joinsFrom, isReady(third)]).toEqual([undefined, true]);
    const late = heard(second, 8, second.joinsFrom, 1); // a report that was overtaken
    expect([late.joinsFrom, isReady(late)]).toEqual([undefined, true]);
  });

  it("takes users at once if it serves what is live, and later also while it is behind: it is counted from then on", () => {
    const first = heard(undefined, 7, 7);
    expect([first.joinsFrom, isReady(first)]).toEqual([undefined, true]);
    expect(isReady(heard(first, 7, undefined, 20))).toBe(true);
  });
});
