import { describe, expect, it } from "vitest";
import { signalAt } from "../../../core/failover/beliefs.ts";
import { decide, type Facts, firstState } from "../../../core/failover/decide.ts";
import type { Observed } from "../../../core/failover/model.ts";
import { neighboursOf } from "../../../schemas/neighbours.ts";
import {
  cellOf,
  degraded,
  edge,
  endpoint,
  facts,
  group,
  now,
  oregon,
  paris,
  railsOf,
  regions,
  two,
  twoSeen,
  weightsIn,
} from "../../fixtures/failover.ts";

describe("what is believed", () => {
  const stateOf = (changes: Partial<Facts>, edgeId = "a") =>
    decide(facts({ observed: twoSeen, edges: two, ...changes })).beliefs.find((one) => one.edgeId === edgeId)?.state;

  it.each([
    ["reports that it serves", {}, "serving"],
    ["says itself that it does not serve", { edges: [edge("a", oregon, { serving: false }), two[1]!] }, "down"],
    ["has stopped reporting", { edges: [edge("a", oregon, { reportedAt: now - 60_000 }), two[1]!] }, "unknown"],
    ["never reported", { edges: [edge("a", oregon, { edgeAt: 0, serving: false }), two[1]!] }, "unknown"],
    ["is in nobody's ledger", { edges: [two[1]!] }, "unknown"],
    ["a monitor calls degraded", { signals: [degraded(oregon, "a")] }, "down"],
    ["a monitor called degraded long ago", { signals: [degraded(oregon, "a", now - 3 * 3600_000)] }, "serving"],
    [
      "reports, and the accelerator can't reach",
      { observed: { groups: [group(oregon, [endpoint("a", 128, "UNHEALTHY"), endpoint("b")])] } },
      "suspect",
    ],
    ["EC2 stopped", { instances: [{ edgeId: "a", state: "stopping", at: now }] }, "down"],
    ["EC2 terminated", { instances: [{ edgeId: "a", state: "terminated", at: now }] }, "down"],
    ["EC2 started again", { instances: [{ edgeId: "a", state: "running", at: now }] }, "serving"],
  ] as [string, Partial<Facts>, string][])("of an edge that %s", (_, changes, state) => {
    expect(stateOf(changes)).toBe(state);
  });

  it("takes the time of an event from its sender, but not later than the bus had it", () => {
    expect(signalAt(5000, 9000, 20_000)).toBe(5000);
    expect(signalAt(99_000, 9000, 20_000)).toBe(9999);
    expect(signalAt(undefined, 9000, 20_000)).toBe(9000);
    expect(signalAt(99_000, Number.NaN, 20_000)).toBe(20_000);
  });
});

describe("what neighbours say", () => {
  const fleet = regions.flatMap((region) => [1, 2].map((number) => ({ id: `${region}/${number}`, region })));
  const target = `${paris}/1`;
  const observed: Observed = {
    groups: regions.map((region) =>
      group(
        region,
        [1, 2].map((number) => endpoint(`${region}/${number}`)),
      ),
    ),
  };
  const watchers = fleet.filter(
    ({ id }) =>
      id !== target && neighboursOf({ ...fleet.find((one) => one.id === id)! }, fleet).some((one) => one.id === target),
  );
  const accusedBy = (accusers: string[], changes: Partial<Facts> = {}) =>
    decide(
      facts({
        edges: fleet.map(({ id, region }) => edge(id, region, accusers.includes(id) ? { accuses: [target] } : {})),
        observed,
        ...changes,
      }),
    );
  const near = watchers.filter(({ region }) => region === paris).map(({ id }) => id);
  const far = watchers.filter(({ region }) => region !== paris).map(({ id }) => id);

  it("takes an edge out when most of them, of its own region and another one, get no answer through it", () => {
    expect(far.length).toBeGreaterThan(0);
    const decision = accusedBy([...near, ...far]);
    expect(weightsIn(decision)[target]).toBe(0);
    expect(decision.beliefs.find(({ edgeId }) => edgeId === target)).toMatchObject({ state: "down", by: "neighbours" });
    expect(Object.values(weightsIn(decision)).filter((weight) => weight === 0).length).toBe(1);
  });

  it.each([
    ["one of them", () => [near[0]!]],
    ["those of its own region only", () => near],
    ["those of other regions only: the way between may be broken", () => far],
    [
      "some that do not watch it",
      () => fleet.filter(({ id }) => !watchers.some((one) => one.id === id) && id !== target).map(({ id }) => id),
    ],
  ])("is not believed of %s", (_, accusers) => {
    const decision = accusedBy(accusers());
    expect(decision.changes).toEqual([]);
  });

  it("is not believed of edges that stopped reporting, and is an opinion: rails limit it", () => {
    const edges = fleet.map(({ id, region }) =>
      edge(id, region, {
        ...(watchers.some((one) => one.id === id) ? { accuses: [target] } : {}),
        reportedAt: now - 60_000,
      }),
    );
    expect(accusedBy([], { edges }).changes).toEqual([]);
    expect(railsOf(accusedBy([...near, ...far], { state: firstState, cell: cellOf(["sa-east-1"]) }))).toEqual([
      `armed: ${target}`,
    ]);
  });

  it("of a liar that accuses everybody changes nothing", () => {
    const liar = `${oregon}/1`;
    const edges = fleet.map(({ id, region }) =>
      edge(id, region, id === liar ? { accuses: fleet.map((one) => one.id) } : {}),
    );
    expect(accusedBy([], { edges }).changes).toEqual([]);
  });
});
