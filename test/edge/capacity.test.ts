import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { capacityOf, fullest, fullnessAt } from "../../edge/agent/capacity.ts";
import { filesInUse, memoryInUse } from "../../edge/agent/machine.ts";

const gibibytes = (count: number) => count * 1024 ** 3;

describe("what an edge can carry", () => {
  it.each([
    ["a t4g.small with 20,000 ports", 2, 40_002, { sessions: 6990, perSource: 1748, connections: 53_998 }],
    ["a machine of 8 GiB", 8, 40_002, { sessions: 27_962, perSource: 6991, connections: 95_942 }],
    [
      "a machine so large that nginx's settings are the limit",
      64,
      40_002,
      { sessions: 45_527, perSource: 11_382, connections: 131_072 },
    ],
  ])("follows from the memory of %s", (_, memory, listening, capacity) => {
    expect(capacityOf({ memoryBytes: gibibytes(memory), connectionsMax: 131_072, listening })).toEqual(capacity);
  });

  it("always fits into the memory, and leaves others three quarters of what one source can take", () => {
    const machine = fc.record({
      memoryBytes: fc.integer({ min: gibibytes(0.5), max: gibibytes(64) }),
      connectionsMax: fc.integer({ min: 64, max: 200_000 }),
      listening: fc.nat({ max: 50_000 }),
    });
    fc.assert(
      fc.property(machine, (one) => {
        const { sessions, perSource, connections } = capacityOf(one);
        expect(sessions * 137 * 1024).toBeLessThan(one.memoryBytes / 2);
        expect(perSource).toBeLessThanOrEqual(sessions / 4 + 1);
        expect(connections).toBeGreaterThanOrEqual(one.listening + 2 * sessions);
        if (sessions > 64) expect(connections).toBeLessThanOrEqual(one.connectionsMax);
      }),
    );
  });
});

describe("how full an edge is", () => {
  it("begins at 90 and 97 %, and ends only when much room is free again", () => {
    const said = [0.5, 0.89, 0.9, 0.85, 0.8, 0.79, 0.97, 0.91, 0.9, 0.89, 0.81, 0.79];
    let now: ReturnType<typeof fullnessAt>;
    expect(said.map((share) => (now = fullnessAt(share, now)))).toEqual([
      ...[undefined, undefined, "tight", "tight", "tight", undefined],
      ...["full", "full", "full", "tight", "tight", undefined],
    ]);
  });

  it("is said of what is nearest to its limit", () => {
    expect(fullest({ sessions: 0.2, memory: 0.95, files: 0.4 })).toEqual({ what: "memory", share: 0.95 });
    expect(fullest({ sessions: 0.97, memory: 0.95, files: 0 })).toEqual({ what: "sessions", share: 0.97 });
  });

  it("counts the machine's memory, and files only where they are in memory", () => {
    expect(memoryInUse()).toBeGreaterThan(0);
    expect(memoryInUse()).toBeLessThan(1);
    expect(filesInUse("/dev/shm")).toBeLessThan(1);
    expect(filesInUse("/proc")).toBe(0);
  });
});
