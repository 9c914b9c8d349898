import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { degradedRegions, edgeFacts, signalAt } from "../../core/failover/facts.ts";
import {
  type Change,
  changesBetween,
  type EdgeFacts,
  type Observed,
  planAccelerator,
} from "../../core/failover/plan.ts";
import { edge as reportingEdge } from "../fixtures/edge.ts";

const regions = ["ap-northeast-1", "eu-west-3", "us-west-2"];
const edge = (edgeId: string, region: string, changes: Partial<EdgeFacts> = {}): EdgeFacts => ({
  edgeId,
  region,
  ready: true,
  health: "healthy",
  gone: false,
  ...changes,
});
const empty: Observed = { groups: [] };

/** The accelerator's state after the changes, with the given health. */
function apply(
  observed: Observed,
  changes: Change[],
  health: (edgeId: string) => "HEALTHY" | "UNHEALTHY" = () => "HEALTHY",
): Observed {
  const groups = new Map(observed.groups.map((group) => [group.region, group]));
  for (const change of changes)
    groups.set(change.region, {
      region: change.region,
      arn: change.kind === "update" ? change.arn : `arn:${change.region}`,
      dial: change.dial,
      endpoints: change.endpoints.map((endpoint) => ({ ...endpoint, health: health(endpoint.edgeId) })),
    });
  return { groups: [...groups.values()] };
}
const takers = ({ groups }: Observed) =>
  groups
    .filter(({ dial }) => dial > 0)
    .flatMap(({ endpoints }) => endpoints.filter(({ weight, health }) => weight > 0 && health !== "UNHEALTHY"));

const fleet = fc
  .array(
    fc.record({
      edgeId: fc.constantFrom(..."abcdefgh"),
      region: fc.constantFrom(...regions),
      ready: fc.boolean(),
      health: fc.constantFrom("healthy" as const, "degraded" as const),
      gone: fc.boolean(),
      fullness: fc.constantFrom(undefined, "tight" as const, "full" as const),
    }),
    { maxLength: 8 },
  )
  .map((edges) => [...new Map(edges.map((one) => [one.edgeId, one])).values()]);

describe("planAccelerator", () => {
  it("adds edges that are ready, with explicit weights, and leaves out those that are not", () => {
    const desired = planAccelerator([edge("a", "us-west-2"), edge("b", "us-west-2", { ready: false })], [], empty);
    expect(desired.groups).toEqual([{ region: "us-west-2", dial: 100, endpoints: [{ edgeId: "a", weight: 128 }] }]);
  });

  it("sets a degraded edge's weight to 0, and restores it on recovery", () => {
    const both = [edge("a", "us-west-2"), edge("b", "us-west-2")];
    const observed = apply(empty, changesBetween(planAccelerator(both, [], empty), empty));
    const out = planAccelerator([both[0]!, { ...both[1]!, health: "degraded" }], [], observed);
    expect(out.groups[0]?.endpoints).toEqual([
      { edgeId: "a", weight: 128 },
      { edgeId: "b", weight: 0 },
    ]);
    expect(planAccelerator(both, [], apply(observed, changesBetween(out, observed))).groups[0]?.endpoints[1]).toEqual({
      edgeId: "b",
      weight: 128,
    });
  });

  it("sets a degraded region's dial to 0 and keeps its edges, in case all others fail", () => {
    const edges = [edge("a", "us-west-2"), edge("b", "eu-west-3")];
    const observed = apply(empty, changesBetween(planAccelerator(edges, [], empty), empty));
    const desired = planAccelerator(edges, ["eu-west-3"], observed);
    expect(desired.groups.map(({ region, dial }) => [region, dial])).toEqual([
      ["eu-west-3", 0],
      ["us-west-2", 100],
    ]);
    expect(desired.groups[0]?.endpoints).toEqual([{ edgeId: "b", weight: 128 }]);
  });

  it("withdraws nothing in favour of an endpoint that is not added yet or not checked yet", () => {
    const degraded = edge("a", "us-west-2", { health: "degraded" });
    const lone: Observed = {
      groups: [
        { region: "us-west-2", arn: "x", dial: 100, endpoints: [{ edgeId: "a", weight: 128, health: "HEALTHY" }] },
      ],
    };
    expect(planAccelerator([degraded, edge("new", "us-west-2")], ["us-west-2"], lone).groups).toMatchObject([
      { dial: 100, endpoints: [{ weight: 128 }, { weight: 128 }] },
    ]);
    const unchecked: Observed = {
      groups: [
        ...lone.groups,
        { region: "eu-west-3", arn: "y", dial: 100, endpoints: [{ edgeId: "b", weight: 128, health: "INITIAL" }] },
      ],
    };
    expect(
      changesBetween(planAccelerator([degraded, edge("b", "eu-west-3")], ["us-west-2"], unchecked), unchecked),
    ).toEqual([]);
  });

  it("never withdraws the last healthy endpoint, nor the last region", () => {
    const lone = [edge("a", "us-west-2", { health: "degraded" })];
    const observed: Observed = {
      groups: [
        { region: "us-west-2", arn: "x", dial: 100, endpoints: [{ edgeId: "a", weight: 128, health: "HEALTHY" }] },
      ],
    };
    const desired = planAccelerator(lone, ["us-west-2"], observed);
    expect(changesBetween(desired, observed)).toEqual([]);
    expect(desired.held).toHaveLength(2);
  });

  it("prefers a degraded edge to one that the accelerator reports as unhealthy", () => {
    const observed: Observed = {
      groups: [
        { region: "eu-west-3", arn: "y", dial: 100, endpoints: [{ edgeId: "b", weight: 128, health: "UNHEALTHY" }] },
        { region: "us-west-2", arn: "x", dial: 100, endpoints: [{ edgeId: "a", weight: 0, health: "HEALTHY" }] },
      ],
    };
    const desired = planAccelerator(
      [edge("a", "us-west-2", { health: "degraded" }), edge("b", "eu-west-3")],
      [],
      observed,
    );
    expect(desired.groups[1]?.endpoints).toEqual([{ edgeId: "a", weight: 128 }]);
  });

  it("does not count an edge as capacity if the accelerator reports it as unhealthy", () => {
    const observed: Observed = {
      groups: [
        {
          region: "us-west-2",
          arn: "x",
          dial: 100,
          endpoints: [
            { edgeId: "a", weight: 128, health: "UNHEALTHY" },
            { edgeId: "b", weight: 128, health: "HEALTHY" },
          ],
        },
      ],
    };
    const desired = planAccelerator(
      [edge("a", "us-west-2"), edge("b", "us-west-2", { health: "degraded" })],
      [],
      observed,
    );
    expect(changesBetween(desired, observed)).toEqual([]);
  });

  it("keeps an edge without facts: missing information is no reason to withdraw it", () => {
    const observed: Observed = {
      groups: [
        { region: "us-west-2", arn: "x", dial: 100, endpoints: [{ edgeId: "ghost", weight: 128, health: "HEALTHY" }] },
      ],
    };
    expect(planAccelerator([], [], observed).groups[0]?.endpoints).toEqual([{ edgeId: "ghost", weight: 128 }]);
  });

  it("removes an edge whose instance is terminated, but never empties a group", () => {
    const observed: Observed = {
      groups: [
        {
          region: "us-west-2",
          arn: "g",
          dial: 100,
          endpoints: [
            { edgeId: "dead", weight: 128, health: "UNHEALTHY" },
            { edgeId: "lives", weight: 128, health: "HEALTHY" },
          ],
        },
      ],
    };
    const dead = edge("dead", "us-west-2", { ready: false, gone: true });
    expect(planAccelerator([dead, edge("lives", "us-west-2")], [], observed).groups[0]?.endpoints).toEqual([
      { edgeId: "lives", weight: 128 },
    ]);
    const alone: Observed = { groups: [{ ...observed.groups[0]!, endpoints: [observed.groups[0]!.endpoints[0]!] }] };
    expect(planAccelerator([dead], [], alone).groups[0]?.endpoints).toEqual([{ edgeId: "dead", weight: 128 }]);
    expect(changesBetween(planAccelerator([{ ...dead, health: "degraded" }], ["us-west-2"], alone), alone)).toEqual([]);
    expect(planAccelerator([dead, edge("next", "us-west-2")], [], alone).groups[0]?.endpoints).toEqual([
      { edgeId: "next", weight: 128 },
    ]);
  });

  it("keeps an edge that is given up and takes users until another one takes them", () => {
    const endpoint = (edgeId: string, health: "HEALTHY" | "INITIAL") => ({ edgeId, weight: 128, health });
    const group = { region: "us-west-2", arn: "g", dial: 100 };
    const edges = [edge("silent", "us-west-2", { ready: false, gone: true }), edge("next", "us-west-2")];
    const idsWith = (health: "HEALTHY" | "INITIAL") => {
      const observed = { groups: [{ ...group, endpoints: [endpoint("next", health), endpoint("silent", "HEALTHY")] }] };
      return planAccelerator(edges, [], observed).groups[0]?.endpoints.map(({ edgeId }) => edgeId);
    };
    expect(idsWith("INITIAL")).toEqual(["next", "silent"]);
    expect(idsWith("HEALTHY")).toEqual(["next"]);
  });

  it("converges in two rounds, and never removes the last endpoint that takes traffic", () => {
    fc.assert(
      fc.property(fleet, fc.subarray(regions), fleet, fc.subarray(regions), (before, outBefore, after, outAfter) => {
        let state = apply(empty, changesBetween(planAccelerator(before, outBefore, empty), empty));
        for (let round = 0; round < 2; round++)
          for (const change of changesBetween(planAccelerator(after, outAfter, state), state)) {
            expect(change.endpoints.length).toBeGreaterThan(0);
            const had = takers(state).length > 0;
            state = apply(state, [change]);
            if (had) expect(takers(state).length).toBeGreaterThan(0);
          }
        // Two rounds, because a new endpoint counts only once the accelerator reports it as healthy.
        expect(changesBetween(planAccelerator(after, outAfter, state), state)).toEqual([]);
      }),
      { numRuns: 500 },
    );
  });
});

describe("an edge that is nearly full", () => {
  const serving = (...edges: EdgeFacts[]): Observed =>
    apply(empty, changesBetween(planAccelerator(edges, [], empty), empty));
  const weights = (...edges: EdgeFacts[]) =>
    planAccelerator(edges, [], serving(...edges.map(({ fullness: _, ...room }) => room))).groups.map(({ endpoints }) =>
      endpoints.map(({ weight }) => weight),
    );

  it("gets a quarter of the users of those with room, and none once it is full", () => {
    expect(weights(edge("a", "eu-west-3", { fullness: "tight" }), edge("b", "eu-west-3"))).toEqual([[32, 128]]);
    expect(weights(edge("a", "eu-west-3", { fullness: "full" }), edge("b", "eu-west-3"))).toEqual([[0, 128]]);
    expect(
      weights(edge("a", "eu-west-3", { fullness: "full" }), edge("b", "eu-west-3", { fullness: "tight" })),
    ).toEqual([[0, 32]]);
  });

  it("goes on taking users when no other one of its region has room: other regions are farther away", () => {
    const full = { fullness: "full" as const };
    expect(weights(edge("a", "eu-west-3", full), edge("b", "eu-west-3", full), edge("c", "us-west-2"))).toEqual([
      [32, 32],
      [128],
    ]);
    expect(weights(edge("a", "eu-west-3", full), edge("b", "eu-west-3", { health: "degraded" }))).toEqual([[32, 0]]);
    expect(weights(edge("a", "eu-west-3", full))).toEqual([[32]]);
  });
});

describe("edgeFacts", () => {
  it("passes on an edge's own word that it is full", () => {
    expect(edgeFacts([reportingEdge("a", { fullness: "full" })], [], 0)[0]?.fullness).toBe("full");
  });

  const row = reportingEdge("a", { reportedAt: 0 });

  it("keeps signals about an edge apart from those about its region", () => {
    const signals = [{ region: "us-west-2", health: "degraded" as const }];
    expect(edgeFacts([row], signals, 0)[0]?.health).toBe("healthy");
    expect(degradedRegions(signals)).toEqual(["us-west-2"]);
    expect(edgeFacts([row], [{ region: "us-west-2", edgeId: "a", health: "degraded" }], 0)[0]?.health).toBe("degraded");
  });

  it("does not call an edge ready if it stopped reporting, whatever its last report", () => {
    expect(edgeFacts([row], [], 1000)[0]?.ready).toBe(true);
    expect(edgeFacts([row], [], 60_000)[0]?.ready).toBe(false);
  });
});

describe("signalAt", () => {
  it("takes the event's own time, but none that is later than the bus's second", () => {
    expect(signalAt(5400, 5000, 9000)).toBe(5400);
    expect(signalAt(60_000, 5000, 90_000)).toBe(5999);
    expect(signalAt(undefined, 5000, 9000)).toBe(5000);
  });
  it("does not depend on the clock of the invocation when the bus gives a time", () => {
    const early = signalAt(5400, 5000, 9000);
    expect(signalAt(7400, 7000, 3000)).toBeGreaterThan(early);
  });
  it("takes no time in the future when there is no bus", () => {
    expect(signalAt(undefined, Number.NaN, 9000)).toBe(9000);
    expect(signalAt(60_000, Number.NaN, 9000)).toBe(9000);
  });
});
