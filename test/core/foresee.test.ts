import { describe, expect, it } from "vitest";
import { decide, type Facts, firstState } from "../../core/failover/decide.ts";
import { evacuationFault, foresee, planInWords } from "../../core/failover/foresee.ts";
import type { Pin } from "../../core/failover/pins.ts";
import { edge as reportingEdge } from "../fixtures/edge.ts";
import { cell } from "../fixtures/fleet.ts";

const now = 1_000_000_000_000;
const [paris, oregon] = ["eu-west-3", "us-west-2"] as const;
const edge = (edgeId: string, region: string, changes: Parameters<typeof reportingEdge>[1] = {}) =>
  reportingEdge(edgeId, { region, reportedAt: now, edgeAt: now, ...changes });
const group = (region: string, ids: string[], dial = 100) => ({
  region,
  arn: `arn:${region}`,
  dial,
  endpoints: ids.map((edgeId) => ({ edgeId, weight: 128, health: "HEALTHY" as const })),
});
const facts = (changes: Partial<Facts> = {}): Facts => ({
  edges: [edge("a", oregon), edge("b", oregon), edge("c", paris)],
  signals: [],
  instances: [],
  observed: { groups: [group(paris, ["c"]), group(oregon, ["a", "b"])] },
  state: { ...firstState, armed: true, firstAt: now },
  pins: [],
  mode: "enforce",
  cell: { ...cell, regions: [paris, oregon] },
  repair: true,
  soakSeconds: 60,
  withdrawalsMax: 12,
  now,
  ...changes,
});
const pin = (target: string, changes: Partial<Pin> = {}): Pin => ({
  kind: "region",
  target,
  value: 0,
  at: now,
  until: now + 7200_000,
  by: "ops",
  why: "test",
  ...changes,
});

describe("a plan to evacuate a region", () => {
  it("says what is written, and where users land then", () => {
    expect(planInWords(foresee(facts(), [pin(paris)]))).toEqual([
      "at once: dial of eu-west-3: 100 → 0 %",
      "then users land on 2 edges of us-west-2",
    ]);
  });

  it("has a hash that stays while the world stays, and another one when it moves", () => {
    const { hash } = foresee(facts(), [pin(paris)]);
    const later = facts({ now: now + 9000 });
    expect(foresee(later, [pin(paris, { at: now + 9000 })]).hash).toBe(hash);
    const moved = facts({ observed: { groups: [group(paris, ["c"], 50), group(oregon, ["a", "b"])] } });
    expect(foresee(moved, [pin(paris)]).hash).not.toBe(hash);
  });

  it("names the rail that would hold it, and nothing is written then", () => {
    const alone = facts({ edges: [edge("c", paris)], observed: { groups: [group(paris, ["c"])] } });
    const { held, steps } = foresee(alone, [pin(paris)]);
    expect([held.map(({ rail, target }) => `${rail}: ${target}`), steps]).toEqual([[`last region: ${paris}`], []]);
  });
});

describe("a plan to restore", () => {
  it("says when a region comes back, step by step", () => {
    const out = facts({ observed: { groups: [group(paris, ["c"], 0), group(oregon, ["a", "b"])] } });
    expect(planInWords(foresee(out, []))).toEqual([
      "after 60 s: dial of eu-west-3: 0 → 25 %",
      "after 120 s: dial of eu-west-3: 25 → 50 %",
      "after 180 s: dial of eu-west-3: 50 → 100 %",
      "then users land on 1 edge of eu-west-3, 2 edges of us-west-2",
    ]);
  });

  it("is what failover then does: the first step is the same decision", () => {
    const out = facts({ observed: { groups: [group(paris, ["c"], 0), group(oregon, ["a", "b"])] } });
    const [first] = foresee(out, []).steps;
    const begun = decide(out);
    const at = now + first!.afterMs;
    const edges = out.edges.map((one) => ({ ...one, reportedAt: at }));
    expect(decide({ ...out, edges, state: begun.state, now: at }).changes).toEqual(first!.changes);
  });
});

describe("whether a region could be evacuated now", () => {
  it.each([
    ["yes, when another one takes its users", {}, undefined],
    [
      "no, when no other one has a healthy edge",
      { observed: { groups: [group(paris, ["c"])] }, edges: [edge("c", paris)] },
      "no region would be left",
    ],
    [
      "no, when the others are nearly full",
      { edges: [edge("a", oregon, { fullness: "tight" }), edge("b", oregon, { fullness: "full" }), edge("c", paris)] },
      "the edges of all other regions are nearly full",
    ],
    [
      "no, when another one is out",
      { observed: { groups: [group(paris, ["c"]), group(oregon, ["a", "b"], 0)] }, pins: [pin(oregon)] },
      "no region would be left",
    ],
    ["no, when it has no group", { observed: { groups: [group(oregon, ["a", "b"])] } }, "it has no group"],
  ] as [string, Partial<Facts>, string | undefined][])("%s", (_, changes, why) => {
    expect(evacuationFault(facts(changes), paris)).toBe(why);
  });
});
