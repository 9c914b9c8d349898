import { beforeAll, describe, expect, it } from "vitest";
import { bundle, type Code } from "./functions.ts";
import { type RareState, rareStates } from "./reached.ts";
import { findBreach, simulate } from "./run.ts";
import { scriptOf } from "./script.ts";

const seeds = (from: number, count: number) => Array.from({ length: count }, (_, index) => from + index);

describe("the control plane", () => {
  let code: Code;
  const reached = new Map<RareState, number>();
  beforeAll(async () => {
    code = await bundle();
  });

  it.each(seeds(0, 10))(
    "keeps the laws and converges for each of the ten seeds in batch %i",
    { timeout: 120_000 },
    async (tens) => {
      const found = await findBreach(seeds(tens * 10 + 1, 10), code, reached);
      expect(found === undefined ? "" : `seed ${found.seed}: ${found.breach}\n${found.history.join("\n")}`).toBe("");
    },
  );

  it.each(rareStates)("sometimes gets where %s, in a hundred seeds", (state) => {
    expect(reached.get(state) ?? 0).toBeGreaterThan(0);
  });

  it.each([[181, "a publisher that stalled, and sees what its successor wrote, halts no cell; a spare slot is room"]])(
    "keeps the laws and converges for seed %i: %s",
    { timeout: 120_000 },
    async (seed) => {
      expect((await simulate(scriptOf(seed), code)).breach).toBeUndefined();
    },
  );

  it("is simulated the same way for the same seed", { timeout: 60_000 }, async () => {
    const [one, two] = [await simulate(scriptOf(7), code), await simulate(scriptOf(7), code)];
    expect(one.history.length).toBeGreaterThan(10);
    expect(two.history).toEqual(one.history);
  });
});
