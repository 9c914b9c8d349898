import { describe, expect, it } from "vitest";
import { decide, type Facts } from "../../../core/failover/decide.ts";
import { evacuationFault, foresee, planInWords } from "../../../core/failover/foresee.ts";
import { cellOf, edge, endpoint, group, now, oregon, paris, pin, facts as some } from "../../fixtures/failover.ts";

const facts = (changes: Partial<Facts> = {}): Facts =>
  some({
    edges: [edge("a", oregon), edge("b", oregon), edge("c", paris)],
    observed: { groups: [group(paris, [endpoint("c")]), group(oregon, [endpoint("a"), endpoint("b")])] },
    cell: cellOf([paris, oregon]),
    soakSeconds: 60,
    ...changes,
  });
const out = (region: string) => pin("region", region, 0);

describe("a plan to evacuate a region", () => {
  it("says what is written, and where users land then", () => {
    expect(planInWords(foresee(facts(), [out(paris)]))).toEqual([
      "at once: dial of eu-west-3: 100 → 0 %",
      "then users land on 2 edges of us-west-2",
    ]);
  });

  it("has a hash that stays while the world stays, and another one when it moves", () => {
    const { hash } = foresee(facts(), [out(paris)]);
    const later = facts({ now: now + 9000 });
    expect(foresee(later, [{ ...out(paris), at: now + 9000 }]).hash).toBe(hash);
    const moved = facts({
      observed: { groups: [group(paris, [endpoint("c")], 50), group(oregon, [endpoint("a"), endpoint("b")])] },
    });
    expect(foresee(moved, [out(paris)]).hash).not.toBe(hash);
  });

  it("names the rail that would hold it, and nothing is written then", () => {
    const alone = facts({ edges: [edge("c", paris)], observed: { groups: [group(paris, [endpoint("c")])] } });
    const { held, steps } = foresee(alone, [out(paris)]);
    expect([held.map(({ rail, target }) => `${rail}: ${target}`), steps]).toEqual([[`last region: ${paris}`], []]);
  });
});

describe("a plan to restore", () => {
  it("says when a region comes back, step by step", () => {
    const lowered = facts({
      observed: { groups: [group(paris, [endpoint("c")], 0), group(oregon, [endpoint("a"), endpoint("b")])] },
    });
    expect(planInWords(foresee(lowered, []))).toEqual([
      "after 60 s: dial of eu-west-3: 0 → 25 %",
      "after 120 s: dial of eu-west-3: 25 → 50 %",
      "after 180 s: dial of eu-west-3: 50 → 100 %",
      "then users land on 1 edge of eu-west-3, 2 edges of us-west-2",
    ]);
  });

  it("is what failover then does: the first step is the same decision", () => {
    const lowered = facts({
      observed: { groups: [group(paris, [endpoint("c")], 0), group(oregon, [endpoint("a"), endpoint("b")])] },
    });
    const [first] = foresee(lowered, []).steps;
    const begun = decide(lowered);
    const at = now + first!.afterMs;
    const edges = lowered.edges.map((one) => ({ ...one, reportedAt: at }));
    expect(decide({ ...lowered, edges, state: begun.state, now: at }).changes).toEqual(first!.changes);
  });
});

describe("whether a region could be evacuated now", () => {
  it.each([
    ["yes, when another one takes its users", {}, undefined],
    [
      "no, when no other one has a healthy edge",
      { observed: { groups: [group(paris, [endpoint("c")])] }, edges: [edge("c", paris)] },
      "no region would be left",
    ],
    [
      "no, when the others are nearly full",
      { edges: [edge("a", oregon, { fullness: "tight" }), edge("b", oregon, { fullness: "full" }), edge("c", paris)] },
      "the edges of all other regions are nearly full",
    ],
    [
      "no, when another one is out",
      {
        observed: { groups: [group(paris, [endpoint("c")]), group(oregon, [endpoint("a"), endpoint("b")], 0)] },
        pins: [out(oregon)],
      },
      "no region would be left",
    ],
    [
      "no, when it has no group",
      { observed: { groups: [group(oregon, [endpoint("a"), endpoint("b")])] } },
      "it has no group",
    ],
  ] as [string, Partial<Facts>, string | undefined][])("%s", (_, changes, why) => {
    expect(evacuationFault(facts(changes), paris)).toBe(why);
  });
});
