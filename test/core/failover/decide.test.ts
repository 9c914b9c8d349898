import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { written } from "../../../core/failover/changes.ts";
import { type Decision, decide, firstState } from "../../../core/failover/decide.ts";
import { endpointsIn, type Observed, takersIn } from "../../../core/failover/model.ts";
import {
  apply,
  armed,
  degraded,
  edge,
  facts,
  now,
  oregon,
  pin,
  regions,
  soakMs,
  two,
  twoSeen,
} from "../../fixtures/failover.ts";

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
