import { describe, expect, it } from "vitest";
import { decide, firstState } from "../../../core/failover/decide.ts";
import type { Observed } from "../../../core/failover/model.ts";
import { pinFault } from "../../../core/failover/pins.ts";
import {
  apply,
  armed,
  degraded,
  dialsIn,
  edge,
  endpoint,
  facts,
  follow,
  group,
  now,
  oregon,
  paris,
  pin,
  railsOf,
  soakMs,
  tokyo,
  two,
  twoSeen,
  weightsIn,
} from "../../fixtures/failover.ts";

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
