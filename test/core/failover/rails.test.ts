import { describe, expect, it } from "vitest";
import { decide, type Facts, firstState } from "../../../core/failover/decide.ts";
import type { Observed } from "../../../core/failover/model.ts";
import {
  apply,
  armed,
  cellOf,
  degraded,
  dialsIn,
  edge,
  endpoint,
  facts,
  group,
  now,
  oregon,
  paris,
  railsOf,
  regions,
  tokyo,
  two,
  twoSeen,
  weightsIn,
} from "../../fixtures/failover.ts";

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
