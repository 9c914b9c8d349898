import { describe, expect, it } from "vitest";
import { decide, type Facts } from "../../../core/failover/decide.ts";
import { groupSettings, listenerPorts, type Repair } from "../../../core/failover/drift.ts";
import type { Observed } from "../../../core/failover/model.ts";
import { inWords, recordOf } from "../../../core/failover/record.ts";
import { cellOf, endpoint, facts, group, now, oregon, regions, two } from "../../fixtures/failover.ts";

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
    const first = seen(changes);
    expect(first.repairs).toEqual([repair]);
    expect(seen(changes, { state: first.state })).toMatchObject({ isNews: false, isDue: true }); // a repair that failed
    for (const more of [{ repair: false }, { mode: "monitor" as const }]) {
      const { drift, repairs, isNews } = seen(changes, more);
      expect([drift.length, repairs, isNews]).toEqual([1, [], true]);
    }
  });

  it("is on record as put back only if that was done", () => {
    const decision = seen({ enabled: false });
    const about = { cell: "c1", at: now, mode: "enforce" as const, observed: whole, pins: [] };
    const wordsOf = (repaired: Repair[]) => inWords(recordOf(about, decision, [], repaired)).at(-1);
    const cell = cellOf(regions).name;
    expect(wordsOf([])).toBe(`${cell}: the accelerator is disabled: no user reaches it`);
    expect(wordsOf(decision.repairs)).toBe(`${cell}: the accelerator is disabled: no user reaches it; put back`);
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
