import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type HealthSignal, signalAt } from "../../core/failover/beliefs.ts";
import { type Change, changesBetween, refusedEndpoint, uncertain, written } from "../../core/failover/changes.ts";
import { type Decision, decide, type Facts, type FailoverState, firstState } from "../../core/failover/decide.ts";
import { groupSettings, listenerPorts } from "../../core/failover/drift.ts";
import { endpointsIn, type Observed, takersIn } from "../../core/failover/model.ts";
import { type Pin, pinFault } from "../../core/failover/pins.ts";
import { neighboursOf } from "../../schemas/neighbours.ts";
import { edge as reportingEdge } from "../fixtures/edge.ts";
import { cell as someCell } from "../fixtures/fleet.ts";

const now = 1_000_000_000_000;
const soakSeconds = 10;
const soakMs = soakSeconds * 1000;
const [tokyo, paris, oregon] = ["ap-northeast-1", "eu-west-3", "us-west-2"] as const;
const regions = [tokyo, paris, oregon];
const armed: FailoverState = { ...firstState, armed: true, firstAt: now };

type EdgeChanges = Parameters<typeof reportingEdge>[1];
const edge = (edgeId: string, region: string, changes: EdgeChanges = {}) =>
  reportingEdge(edgeId, { region, appliedGeneration: 5, serving: true, reportedAt: now, edgeAt: now, ...changes });

const endpoint = (edgeId: string, weight = 128, health: "INITIAL" | "HEALTHY" | "UNHEALTHY" = "HEALTHY") => ({
  edgeId,
  weight,
  health,
});
const group = (region: string, endpoints: ReturnType<typeof endpoint>[], dial = 100) => ({
  region,
  arn: `arn:${region}`,
  dial,
  endpoints,
});
const cellOf = (where: string[]) => ({ ...someCell, regions: where });
const facts = (changes: Partial<Facts>): Facts => ({
  edges: [],
  signals: [],
  instances: [],
  observed: { groups: [] },
  state: armed,
  pins: [],
  mode: "enforce",
  cell: cellOf(regions),
  repair: true,
  soakSeconds,
  withdrawalsMax: 12,
  now,
  ...changes,
});
const degraded = (region: string, edgeId?: string, at = now): HealthSignal => ({
  region,
  health: "degraded",
  at,
  ...(edgeId === undefined ? {} : { edgeId }),
});
const pin = (kind: Pin["kind"], target: string, value: number): Pin => ({
  kind,
  target,
  value,
  at: now,
  until: now + 3600_000,
  by: "ops",
  why: "test",
});

const weightsIn = ({ model }: Pick<Decision, "model">) =>
  Object.fromEntries([...endpointsIn(model).values()].map(({ edgeId, weight }) => [edgeId, weight]));
const dialsIn = ({ model }: Pick<Decision, "model">) =>
  Object.fromEntries(model.groups.map(({ region, dial }) => [region, dial]));
const railsOf = ({ held }: Decision) => held.map(({ rail, target }) => `${rail}: ${target}`);

/** The accelerator's state after the changes, once it has checked everything. */
function apply(
  observed: Observed,
  changes: Change[],
  health: (edgeId: string) => "HEALTHY" | "UNHEALTHY" = () => "HEALTHY",
): Observed {
  const { groups } = changes.reduce(written, observed);
  return {
    groups: groups.map((one) => ({
      ...one,
      arn: `arn:${one.region}`,
      endpoints: one.endpoints.map((each) => ({ ...each, health: health(each.edgeId) })),
    })),
  };
}

/** Decides again and again, a look apart, until nothing is due; with the weights of each decision that changed them. */
function follow(from: Facts, mostMs: number) {
  let { observed, state } = from;
  const steps: { at: number; weights: Record<string, number>; dials: Record<string, number> }[] = [];
  for (let at = from.now; at <= from.now + mostMs; at += 1000) {
    const edges = from.edges.map((one) => ({ ...one, reportedAt: one.reportedAt === now ? at : one.reportedAt }));
    const decision = decide({ ...from, edges, observed, state, now: at });
    if (decision.changes.length > 0)
      steps.push({ at: at - from.now, weights: weightsIn(decision), dials: dialsIn(decision) });
    observed = apply(observed, decision.changes);
    ({ state } = decision);
  }
  return { steps, observed, state };
}

const two = [edge("a", oregon), edge("b", oregon)];
const twoSeen: Observed = { groups: [group(oregon, [endpoint("a"), endpoint("b")])] };

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

describe("what is wanted", () => {
  it("adds edges that are ready, with explicit weights, and leaves out those that are not", () => {
    const edges = [edge("a", oregon), edge("b", oregon, { appliedGeneration: 0 })];
    const { model, changes } = decide(facts({ edges, state: firstState }));
    expect(model.groups).toEqual([{ region: oregon, dial: 100, endpoints: [{ edgeId: "a", weight: 128 }] }]);
    expect(changes).toMatchObject([{ kind: "create", region: oregon }]);
  });

  it("takes out an edge at once, and lets it return in steps, a soak apart", () => {
    const out = decide(facts({ edges: two, observed: twoSeen, signals: [degraded(oregon, "b")] }));
    expect(weightsIn(out)).toEqual({ a: 128, b: 0 });
    const observed = apply(twoSeen, out.changes);
    const back = follow(facts({ edges: two, observed, state: out.state }), 10 * soakMs);
    expect(back.steps.map(({ at, weights }) => [at, weights.b])).toEqual([
      [soakMs, 16],
      [2 * soakMs, 32],
      [3 * soakMs, 64],
      [4 * soakMs, 128],
    ]);
  });

  it("lets one that fell again return more slowly, up to eight times, and forgets falls after a long good time", () => {
    let state = armed;
    let observed = twoSeen;
    let at = now;
    const times: number[] = [];
    for (let fall = 0; fall < 6; fall++) {
      const out = decide(
        facts({
          edges: two.map((one) => ({ ...one, reportedAt: at })),
          observed,
          state,
          signals: [degraded(oregon, "b", at)],
          now: at,
        }),
      );
      observed = apply(observed, out.changes);
      const edges = two.map((one) => ({ ...one, reportedAt: at }));
      const first = [1, 2, 4, 8, 16].find((soaks) => {
        const later = at + soaks * soakMs;
        const begun = decide(facts({ edges, observed, state: out.state, now: at }));
        const step = decide(
          facts({
            edges: edges.map((one) => ({ ...one, reportedAt: later })),
            observed,
            state: begun.state,
            now: later,
          }),
        );
        return weightsIn(step).b! > 0;
      });
      times.push(first!);
      state = out.state;
      state = decide(facts({ edges, observed, state, now: at })).state;
      at += fall === 4 ? 3600_000 : 1000;
    }
    expect(times).toEqual([1, 2, 4, 8, 8, 1]);
  });

  it("adds an edge to a group that takes users with a small weight, and the first ones of an empty group at once", () => {
    const observed = { groups: [group(oregon, [endpoint("a")])] };
    expect(weightsIn(decide(facts({ edges: two, observed })))).toEqual({ a: 128, b: 16 });
    const dead = { groups: [group(oregon, [endpoint("a", 128, "UNHEALTHY")])] };
    expect(weightsIn(decide(facts({ edges: two, observed: dead }))).b).toBe(128);
    expect(weightsIn(decide(facts({ edges: two })))).toEqual({ a: 128, b: 128 });
  });

  it("brings everything in at once before everything was healthy once, and returns nothing in steps then", () => {
    const begun = { groups: [group(oregon, [endpoint("a"), endpoint("c", 16)]), group(tokyo, [endpoint("t")], 25)] };
    const edges = [...two, edge("c", oregon), edge("t", tokyo), edge("p", paris)];
    const decision = decide(facts({ edges, observed: begun, state: firstState }));
    expect(weightsIn(decision)).toEqual({ a: 128, b: 128, c: 128, t: 128, p: 128 });
    expect(dialsIn(decision)).toMatchObject({ [oregon]: 100, [tokyo]: 100 });
  });

  it("removes an edge as soon as EC2 says that it is terminated, and gives one that is silent no more weight", () => {
    const instances = [{ edgeId: "b", state: "terminated", at: now }];
    expect(weightsIn(decide(facts({ edges: two, observed: twoSeen, instances })))).toEqual({ a: 128 });
    const low = { groups: [group(oregon, [endpoint("a"), endpoint("b", 32)])] };
    const silent = facts({ edges: [two[0]!, edge("b", oregon, { reportedAt: now - 60_000 })], observed: low });
    expect(follow(silent, 5 * soakMs).steps).toEqual([]);
  });

  it("takes out a region by its dial and keeps its weights, in case all others fail; it returns in steps", () => {
    const edges = [edge("a", oregon), edge("b", paris)];
    const observed = { groups: [group(paris, [endpoint("b")]), group(oregon, [endpoint("a")])] };
    const out = decide(facts({ edges, observed, signals: [degraded(paris)] }));
    expect([dialsIn(out), weightsIn(out)]).toEqual([
      { [paris]: 0, [oregon]: 100 },
      { a: 128, b: 128 },
    ]);
    expect(out.changes).toMatchObject([{ region: paris, onlyDial: true }]);
    const back = follow(facts({ edges, observed: apply(observed, out.changes), state: out.state }), 5 * soakMs);
    expect(back.steps.map(({ at, dials }) => [at, dials[paris]])).toEqual([
      [soakMs, 25],
      [2 * soakMs, 50],
      [3 * soakMs, 100],
    ]);
  });

  it("lets a region that joins others begin at dial 0", () => {
    const edges = [edge("a", oregon), edge("b", paris)];
    const decision = decide(facts({ edges, observed: { groups: [group(oregon, [endpoint("a")])] } }));
    expect([dialsIn(decision)[paris], weightsIn(decision).b]).toEqual([0, 128]);
  });

  it("lowers the weight of an edge that signs disagree about, in steps, never to zero, and never without a sign", () => {
    const observed = { groups: [group(oregon, [endpoint("a"), endpoint("b", 128, "UNHEALTHY")])] };
    let state = armed;
    let shown: Observed = observed;
    const weights = [0, 1, 2, 3, 4, 5].map((soaks) => {
      const at = now + soaks * soakMs;
      const decision = decide(
        facts({ edges: two.map((one) => ({ ...one, reportedAt: at })), observed: shown, state, now: at }),
      );
      ({ state } = decision);
      shown = apply(shown, decision.changes, (edgeId) => (edgeId === "b" ? "UNHEALTHY" : "HEALTHY"));
      return weightsIn(decision).b;
    });
    expect(weights).toEqual([64, 32, 16, 16, 16, 16]);
    const silent = [two[0]!, edge("b", oregon, { reportedAt: now - 60_000 })];
    expect(decide(facts({ edges: silent, observed: twoSeen })).changes).toEqual([]);
  });

  it("removes an edge that is gone in the write that keeps a living one, but never empties a group", () => {
    const observed = { groups: [group(oregon, [endpoint("a", 128, "UNHEALTHY"), endpoint("b")])] };
    const edges = [edge("a", oregon, { terminated: true }), two[1]!];
    expect(weightsIn(decide(facts({ edges, observed })))).toEqual({ b: 128 });
    const alone = { groups: [group(oregon, [endpoint("a", 128, "UNHEALTHY")]), group(paris, [endpoint("c")])] };
    expect(weightsIn(decide(facts({ edges: [edges[0]!, edge("c", paris)], observed: alone })))).toEqual({
      a: 128,
      c: 128,
    });
    const next = decide(facts({ edges: [edges[0]!, edge("n", oregon), edge("c", paris)], observed: alone }));
    expect(weightsIn(next)).toEqual({ n: 128, c: 128 });
  });

  it("changes the dial of a group whose edges are all gone without sending its list, which AWS would refuse", () => {
    const observed = { groups: [group(oregon, [endpoint("a", 128, "UNHEALTHY")]), group(paris, [endpoint("c")])] };
    const edges = [edge("a", oregon, { reportedAt: now - 90_000 }), edge("c", paris)];
    expect(decide(facts({ edges, observed, signals: [degraded(oregon)] })).changes).toMatchObject([
      { region: oregon, dial: 0, onlyDial: true },
    ]);
  });

  it("keeps an edge that is given up and takes users until another one takes them", () => {
    const edges = [edge("silent", oregon, { givenUp: true, reportedAt: now - 3600_000 }), edge("next", oregon)];
    const idsWith = (health: "HEALTHY" | "INITIAL") =>
      Object.keys(
        weightsIn(
          decide(
            facts({
              edges,
              observed: { groups: [group(oregon, [endpoint("next", 128, health), endpoint("silent")])] },
            }),
          ),
        ),
      );
    expect(idsWith("INITIAL")).toEqual(["next", "silent"]);
    expect(idsWith("HEALTHY")).toEqual(["next"]);
  });

  it("gives an edge that is nearly full a quarter of the users, and none once it is full while others have room", () => {
    const weights = (...list: ReturnType<typeof edge>[]) => {
      const observed = {
        groups: [
          group(
            oregon,
            list.map(({ edgeId }) => endpoint(edgeId)),
          ),
        ],
      };
      return weightsIn(decide(facts({ edges: list, observed })));
    };
    const [tight, full] = [{ fullness: "tight" as const }, { fullness: "full" as const }];
    expect(weights(edge("a", oregon, tight), edge("b", oregon))).toEqual({ a: 32, b: 128 });
    expect(weights(edge("a", oregon, full), edge("b", oregon))).toEqual({ a: 0, b: 128 });
    expect(weights(edge("a", oregon, full), edge("b", oregon, tight))).toEqual({ a: 0, b: 32 });
    expect(weights(edge("a", oregon, full), edge("b", oregon, full))).toEqual({ a: 32, b: 32 });
  });
});

describe("a pin", () => {
  it("wins over what is believed until it ends", () => {
    const observed = { groups: [group(oregon, [endpoint("a"), endpoint("b"), endpoint("c")])] };
    const edges = [...two, edge("c", oregon)];
    const pins = [pin("edge", "a", 0), pin("edge", "b", 200)];
    const decision = decide(facts({ edges, observed, pins, signals: [degraded(oregon, "b")] }));
    expect(weightsIn(decision)).toEqual({ a: 0, b: 200, c: 128 });
    const after = { edges, observed: apply(observed, decision.changes), state: decision.state, now: now + 3600_000 };
    const fresh = edges.map((one) => ({ ...one, reportedAt: after.now }));
    expect(weightsIn(decide(facts({ ...after, edges: fresh, pins })))).toEqual({ a: 0, b: 128, c: 128 });
  });

  it("takes out more than opinions may, but not the last edge, nor the last region", () => {
    const edges = [edge("a", oregon), edge("b", paris)];
    const observed = { groups: [group(paris, [endpoint("b")]), group(oregon, [endpoint("a")])] };
    const both = [pin("region", paris, 0), pin("region", oregon, 0)];
    const decision = decide(facts({ edges, observed, pins: both }));
    expect([dialsIn(decision), railsOf(decision)]).toEqual([
      { [paris]: 100, [oregon]: 100 },
      [`last region: ${paris}`, `last region: ${oregon}`],
    ]);
    const edgesOut = decide(facts({ edges, observed, pins: [pin("edge", "a", 0), pin("edge", "b", 0)] }));
    expect(weightsIn(edgesOut)).toEqual({ a: 128, b: 128 });
  });

  it.each([
    [{ value: 256 }, "a weight is a whole number from 0 to 255"],
    [{ kind: "region" as const, value: 101 }, "a dial is a whole number from 0 to 100"],
    [{ value: 0.5 }, "a weight is a whole number from 0 to 255"],
    [{ until: now + 59_000 }, "a pin lasts from 1m to 72h, as in --for 2h"],
    [{ until: now + 73 * 3600_000 }, "a pin lasts from 1m to 72h, as in --for 2h"],
    [{ until: Number.NaN }, "a pin lasts from 1m to 72h, as in --for 2h"],
    [{ why: " " }, 'say why, as in --why "kernel update"'],
    [{}, undefined],
  ])("with %j: %s", (changes, fault) => {
    expect(pinFault({ ...pin("edge", "a", 0), ...changes })).toBe(fault);
  });
});

describe("the rail", () => {
  const six = [..."abcdef"].map((id) => edge(id, oregon));
  const sixSeen: Observed = {
    groups: [
      group(paris, [endpoint("z")]),
      group(
        oregon,
        [..."abcdef"].map((id) => endpoint(id)),
      ),
    ],
  };
  const all = [...six, edge("z", paris)];
  const out = (ids: string, changes: Partial<Facts> = {}) =>
    decide(facts({ edges: all, observed: sixSeen, signals: [...ids].map((id) => degraded(oregon, id)), ...changes }));

  it("'quota' lets the eleventh edge of a group wait, and keeps those that are there", () => {
    const edges = [..."abcdefghijkl"].map((id) => edge(id, oregon));
    const observed = {
      groups: [
        group(
          oregon,
          [..."cdefghijkl"].map((id) => endpoint(id)),
        ),
      ],
    };
    const decision = decide(facts({ edges, observed }));
    expect(Object.keys(weightsIn(decision)).join("")).toBe("cdefghijkl");
    expect(railsOf(decision)).toEqual(["quota: a", "quota: b"]);
  });

  it("'armed' takes nobody's opinion before everything was healthy once", () => {
    const early = {
      groups: [
        group(oregon, [endpoint("a"), endpoint("b", 128, "INITIAL")]),
        group(paris, [endpoint("z", 128, "INITIAL")]),
      ],
    };
    const edges = [...two, edge("z", paris)];
    const decision = decide(
      facts({
        edges,
        observed: early,
        state: firstState,
        cell: cellOf([oregon, paris]),
        signals: [degraded(oregon, "b"), degraded(paris)],
      }),
    );
    expect([railsOf(decision), decision.state.armed]).toEqual([[`armed: b`, `armed: ${paris}`], false]);
    const whole = { groups: [group(oregon, [endpoint("a"), endpoint("b")]), group(paris, [endpoint("z")])] };
    const later = decide(
      facts({
        edges,
        observed: whole,
        cell: cellOf([oregon, paris]),
        state: decision.state,
        signals: [degraded(oregon, "b")],
      }),
    );
    expect([later.state.armed, weightsIn(later).b]).toEqual([true, 0]);
    const partly = facts({ edges, observed: whole, state: firstState, cell: cellOf([oregon, paris, tokyo]) });
    const waiting = decide(partly).state;
    expect(waiting).toMatchObject({ armed: false, firstAt: now });
    expect(decide({ ...partly, state: waiting, now: now + 10 * 60_000 }).state.armed).toBe(true);
  });

  it("'deployed' lets only withdrawals through while a write is under way, unless nobody takes users", () => {
    const observed = { ...twoSeen, inProgress: true };
    const edges = [...two, edge("new", oregon), edge("far", tokyo)];
    const decision = decide(facts({ edges, observed, signals: [degraded(oregon, "b")] }));
    expect([weightsIn(decision), railsOf(decision)]).toEqual([
      { a: 128, b: 0 },
      [`deployed: ${tokyo}`, "deployed: new"],
    ]);
    const dead = {
      groups: [group(oregon, [endpoint("a", 128, "UNHEALTHY"), endpoint("b", 0, "UNHEALTHY")])],
      inProgress: true,
    };
    expect(weightsIn(decide(facts({ edges, observed: dead })))).toMatchObject({ new: 128, far: 128 });
  });

  it("'floor' lets opinions take a third of a region's edges, or one, and one region", () => {
    const decision = out("abcd");
    expect([weightsIn(decision), railsOf(decision)]).toEqual([
      { a: 0, b: 0, c: 128, d: 128, e: 128, f: 128, z: 128 },
      ["floor: c", "floor: d"],
    ]);
    const later = decide(
      facts({
        edges: all,
        observed: apply(sixSeen, decision.changes),
        state: decision.state,
        signals: [..."bcd"].map((id) => degraded(oregon, id)),
      }),
    );
    expect(weightsIn(later)).toMatchObject({ a: 0, b: 0, c: 128, d: 128 }); // a is on its way back
    expect(
      weightsIn(
        decide(facts({ edges: two, observed: twoSeen, signals: [degraded(oregon, "a"), degraded(oregon, "b")] })),
      ),
    ).toEqual({ a: 0, b: 128 });
    const places = { groups: regions.map((region) => group(region, [endpoint(region)])) };
    const both = decide(
      facts({
        edges: regions.map((region) => edge(region, region)),
        observed: places,
        signals: [degraded(paris), degraded(tokyo)],
      }),
    );
    expect([dialsIn(both), railsOf(both)]).toEqual([{ [tokyo]: 0, [paris]: 100, [oregon]: 100 }, [`floor: ${paris}`]]);
  });

  it("'floor' does not limit what edges say of themselves, nor what EC2 says", () => {
    const edges = all.map((one) => ("abc".includes(one.edgeId) ? { ...one, serving: false } : one));
    const decision = decide(
      facts({ edges, observed: sixSeen, instances: [{ edgeId: "d", state: "stopped", at: now }] }),
    );
    expect([weightsIn(decision), railsOf(decision)]).toEqual([{ a: 0, b: 0, c: 0, d: 0, e: 128, f: 128, z: 128 }, []]);
  });

  it("'budget' lets opinions take out so many an hour", () => {
    const withdrawals = [now - 100, now - 90, now - 4000_000];
    const decision = out("ab", { withdrawalsMax: 3, state: { ...armed, withdrawals } });
    expect([weightsIn(decision), railsOf(decision)]).toEqual([
      { a: 0, b: 128, c: 128, d: 128, e: 128, f: 128, z: 128 },
      ["budget: b"],
    ]);
    expect(decision.state.withdrawals).toEqual([now - 100, now - 90, now]);
  });

  it("'capacity' gives nobody's users to edges that are nearly full", () => {
    const edges = [edge("a", oregon), edge("b", oregon, { fullness: "tight" }), edge("z", paris, { fullness: "full" })];
    const observed = { groups: [group(paris, [endpoint("z", 32)]), group(oregon, [endpoint("a"), endpoint("b", 32)])] };
    const one = decide(facts({ edges, observed, signals: [degraded(oregon, "a")] }));
    expect([weightsIn(one).a, railsOf(one)]).toEqual([128, ["capacity: a"]]);
    const region = decide(facts({ edges, observed, signals: [degraded(oregon)] }));
    expect([dialsIn(region)[oregon], railsOf(region)]).toEqual([100, [`capacity: ${oregon}`]]);
  });

  it("'last edge' prefers a degraded edge to one that is not there, not checked, or not reached", () => {
    const down = [edge("a", oregon, { serving: false }), edge("b", paris)];
    for (const other of [endpoint("b", 128, "UNHEALTHY"), endpoint("b", 128, "INITIAL")]) {
      const observed = { groups: [group(paris, [other]), group(oregon, [endpoint("a", 0)])] };
      const decision = decide(facts({ edges: down, observed }));
      expect([weightsIn(decision).a, railsOf(decision)]).toEqual([128, ["last edge: the cell"]]);
    }
    const alone = { groups: [group(oregon, [endpoint("a")])] };
    expect(decide(facts({ edges: [down[0]!], observed: alone })).changes).toEqual([]);
  });

  it("'last region' keeps all dials when no other region has a healthy edge", () => {
    const observed = { groups: [group(paris, [endpoint("b", 128, "UNHEALTHY")]), group(oregon, [endpoint("a")])] };
    const decision = decide(
      facts({ edges: [edge("a", oregon), edge("b", paris)], observed, signals: [degraded(oregon)] }),
    );
    expect([dialsIn(decision)[oregon], railsOf(decision)]).toEqual([100, [`last region: ${oregon}`]]);
    const dark = { groups: [group(paris, [endpoint("b")], 0), group(oregon, [endpoint("a")], 0)] };
    const opened = decide(
      facts({
        edges: [edge("a", oregon), edge("b", paris)],
        observed: dark,
        signals: [degraded(oregon), degraded(paris)],
      }),
    );
    expect([dialsIn(opened), railsOf(opened)]).toEqual([{ [paris]: 100, [oregon]: 100 }, ["last region: the cell"]]);
  });
});

describe("modes", () => {
  it("monitor and frozen say what would be written, and write nothing; the same is no news twice", () => {
    for (const mode of ["monitor", "frozen"] as const) {
      const seen = { edges: two, observed: twoSeen, signals: [degraded(oregon, "b")], mode };
      const decision = decide(facts(seen));
      expect([decision.changes, decision.unwritten.length, decision.isNews]).toEqual([[], 1, true]);
      expect(decide(facts({ ...seen, state: decision.state })).isNews).toBe(false);
      expect(decision.state.withdrawals).toEqual([]);
    }
  });

  it("an evaluation of a fleet that is as it should be changes nothing, and is due at no time", () => {
    const decision = decide(facts({ edges: two, observed: twoSeen }));
    expect([decision.changes, decision.isNews, decision.dueAt]).toEqual([[], false, undefined]);
  });
});

describe("what people change beside weights and dials", () => {
  const settings = groupSettings(cellOf(regions));
  const whole: Observed = {
    groups: [{ ...group(oregon, [endpoint("a"), endpoint("b")]), settings }],
    enabled: true,
    ports: listenerPorts(cellOf(regions)),
  };
  const seen = (changes: Partial<Observed>, more: Partial<Facts> = {}) =>
    decide(facts({ edges: two, observed: { ...whole, ...changes }, ...more }));

  it("is nothing when it is as it must be, in whatever order AWS lists it", () => {
    expect(seen({ ports: whole.ports!.toReversed() }).drift).toEqual([]);
  });

  it.each([
    ["a disabled accelerator", { enabled: false }, { kind: "enable" }],
    ["a port that is missing", { ports: [whole.ports![0]!] }, { kind: "ports", ports: whole.ports }],
    [
      "a port override that is gone",
      { groups: [{ ...whole.groups[0]!, settings: { ...settings, overrides: [] } }] },
      { kind: "settings", region: oregon, arn: `arn:${oregon}`, settings },
    ],
    [
      "a slower health check",
      { groups: [{ ...whole.groups[0]!, settings: { ...settings, intervalSeconds: 30 } }] },
      { kind: "settings", region: oregon, arn: `arn:${oregon}`, settings },
    ],
  ] as [string, Partial<Observed>, object][])("as %s is put back, or only reported", (_, changes, repair) => {
    expect(seen(changes).repairs).toEqual([repair]);
    for (const more of [{ repair: false }, { mode: "monitor" as const }]) {
      const { drift, repairs, isNews } = seen(changes, more);
      expect([drift.length, repairs, isNews]).toEqual([1, [], true]);
    }
  });

  it("as a foreign group or endpoint is reported, and stays", () => {
    const foreign = [...whole.groups, { ...group("sa-east-1", [endpoint("alb")]), settings }];
    const { drift, repairs, changes } = seen({ groups: foreign });
    expect([drift.map(({ target, what }) => `${target}: ${what}`), repairs, changes]).toEqual([
      [
        "sa-east-1: the fleet has no edges there: somebody made this group",
        "sa-east-1: alb is no edge: somebody added it",
      ],
      [],
      [],
    ]);
  });
});

describe("an endpoint because of which AWS refuses a list", () => {
  const change: Change = {
    kind: "update",
    region: oregon,
    arn: "arn",
    dial: 100,
    onlyDial: false,
    endpoints: ["i-1", "i-2"].map((edgeId) => ({ edgeId, weight: 128 })),
  };
  const refusal = (name: string, message: string) => Object.assign(new Error(message), { name });

  it.each([
    ["InvalidArgumentException", "The endpoint i-2 is not valid", "i-2"],
    ["EndpointNotFoundException", "i-1 not found", "i-1"],
    ["InvalidArgumentException", "i-1 and i-2 are not valid", undefined],
    ["InvalidArgumentException", "the dial is not valid", undefined],
    ["ThrottlingException", "i-2", undefined],
  ])("%s: %s", (name, message, edgeId) => {
    expect(refusedEndpoint(change, refusal(name, message))).toBe(edgeId);
  });

  it("is left out of the next list", () => {
    const observed = { groups: [group(oregon, [endpoint("a"), endpoint("b"), endpoint("alb")])] };
    const instances = [{ edgeId: "alb", state: "refused", at: now }];
    expect(weightsIn(decide(facts({ edges: two, observed, instances })))).toEqual({ a: 128, b: 128 });
  });
});

describe("storms", () => {
  const flap = (everyMs: number, forMs: number) => {
    let [state, observed, writes] = [armed, twoSeen, 0];
    for (let at = now; at < now + forMs + 40 * soakMs; at += 100) {
      const isStorm = at < now + forMs;
      const last = now + Math.floor((Math.min(at, now + forMs - 1) - now) / everyMs) * everyMs;
      const health = isStorm && ((last - now) / everyMs) % 2 === 0 ? ("degraded" as const) : ("healthy" as const);
      const edges = two.map((one) => ({ ...one, reportedAt: at }));
      const decision = decide(
        facts({ edges, observed, state, signals: [{ ...degraded(oregon, "b", last), health }], now: at }),
      );
      ({ state } = decision);
      writes += decision.changes.length;
      observed = apply(observed, decision.changes);
    }
    return {
      writes,
      weights: Object.fromEntries([...endpointsIn(observed).values()].map((one) => [one.edgeId, one.weight])),
    };
  };

  it.each([
    ["50 events in 10 s", 200, 10_000],
    ["a flap every 500 ms for a minute", 500, 60_000],
  ])("%s lead to at most 6 writes and the right end", (_, everyMs, forMs) => {
    const { writes, weights } = flap(everyMs, forMs);
    expect(weights).toEqual({ a: 128, b: 128 });
    expect(writes).toBeLessThanOrEqual(6);
  });
});

const anyEdges = fc
  .array(
    fc.record({
      edgeId: fc.constantFrom(..."abcdefgh"),
      region: fc.constantFrom(...regions),
      applied: fc.constantFrom(0, 5),
      serving: fc.boolean(),
      isSilent: fc.boolean(),
      terminated: fc.boolean(),
      fullness: fc.constantFrom(undefined, "tight" as const, "full" as const),
    }),
    { maxLength: 8 },
  )
  .map((list) =>
    [...new Map(list.map((one) => [one.edgeId, one])).values()].map(
      ({ edgeId, region, applied, serving, isSilent, terminated, fullness }) =>
        edge(edgeId, region, {
          appliedGeneration: applied,
          serving,
          reportedAt: isSilent ? now - 60_000 : now,
          ...(terminated ? { terminated: true as const } : {}),
          ...(fullness === undefined ? {} : { fullness }),
        }),
    ),
  );
const anySignals = fc.array(
  fc.record({
    region: fc.constantFrom(...regions),
    edgeId: fc.option(fc.constantFrom(..."abcdefgh"), { nil: undefined }),
    health: fc.constantFrom("healthy" as const, "degraded" as const),
    at: fc.constant(now),
  }),
  { maxLength: 6 },
);
const anyPins = fc.array(
  fc
    .oneof(
      fc.record({
        kind: fc.constant("edge" as const),
        target: fc.constantFrom(..."abcdefgh"),
        value: fc.constantFrom(0, 7, 255),
      }),
      fc.record({
        kind: fc.constant("region" as const),
        target: fc.constantFrom(...regions),
        value: fc.constantFrom(0, 30, 100),
      }),
    )
    .map((some) => ({ ...pin("edge", "", 0), ...some })),
  { maxLength: 3 },
);
const takers = ({ groups }: Observed) => groups.flatMap((one) => takersIn(one, { groups }));

describe("whatever is seen", () => {
  it("always keeps one that takes users, sends no empty list, and comes to rest", () => {
    fc.assert(
      fc.property(
        anyEdges,
        anySignals,
        anyEdges,
        anySignals,
        anyPins,
        fc.boolean(),
        (before, said, after, says, pins, isArmed) => {
          const state = isArmed ? armed : firstState;
          let observed = apply({ groups: [] }, decide(facts({ edges: before, signals: said, state })).changes);
          let next = state;
          let last: Decision | undefined;
          for (let at = now; at <= now + 100 * soakMs; at += soakMs) {
            const edges = after.map((one) => ({ ...one, reportedAt: one.reportedAt === now ? at : one.reportedAt }));
            last = decide(facts({ edges, signals: says, pins, observed, state: next, now: at }));
            next = last.state;
            for (const change of last.changes) {
              expect(change.endpoints.length).toBeGreaterThan(0);
              const had = takers(observed).length;
              observed = apply(observed, [change]);
              if (had > 0) expect(takers(observed).length).toBeGreaterThan(0);
            }
          }
          expect(last!.changes).toEqual([]);
        },
      ),
      { numRuns: 300 },
    );
  });

  it("always writes in an order in which no moment has fewer that take users than before or after", () => {
    fc.assert(
      fc.property(anyEdges, anyEdges, anySignals, anyPins, (before, after, says, pins) => {
        let observed = apply({ groups: [] }, decide(facts({ edges: before })).changes);
        const { changes } = decide(facts({ edges: after, signals: says, pins, observed }));
        const health = new Map([...endpointsIn(observed).values()].map((one) => [one.edgeId, one.health]));
        const count = (state: Observed) =>
          state.groups
            .flatMap(({ dial, endpoints }) => (dial === 0 ? [] : endpoints))
            .filter(({ edgeId, weight }) => weight > 0 && health.get(edgeId) === "HEALTHY").length;
        const counts = [count(observed)];
        for (const change of changes) {
          observed = written(observed, change);
          counts.push(count(observed));
        }
        expect(Math.min(...counts)).toBeGreaterThanOrEqual(Math.min(counts[0]!, counts.at(-1)!));
      }),
      { numRuns: 300 },
    );
  });
});

describe("a write whose answer never came", () => {
  it("may have taken effect or not: the least of both counts", () => {
    const change: Change = {
      kind: "update",
      region: oregon,
      arn: `arn:${oregon}`,
      dial: 50,
      onlyDial: false,
      endpoints: [{ edgeId: "a", weight: 7 }],
    };
    expect(uncertain(twoSeen, change).groups[0]).toMatchObject({ dial: 50, endpoints: [{ weight: 7 }, { weight: 0 }] });
    expect(
      changesBetween(
        {
          groups: [
            {
              region: oregon,
              dial: 100,
              endpoints: [
                { edgeId: "a", weight: 128 },
                { edgeId: "b", weight: 128 },
              ],
            },
          ],
        },
        twoSeen,
      ),
    ).toEqual([]);
  });
});
