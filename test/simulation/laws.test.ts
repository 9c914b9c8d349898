import { beforeAll, describe, expect, it } from "vitest";
import { bundle, type Code } from "./functions.ts";
import { findBreach, simulate } from "./run.ts";
import { scriptOf } from "./script.ts";

const seeds = (from: number, count: number) => Array.from({ length: count }, (_, index) => from + index);

describe("the control plane", () => {
  let code: Code;
  beforeAll(async () => {
    code = await bundle();
  });

  it.each(seeds(0, 10))(
    "keeps the laws and comes to rest, seeds %i1 to %i1 + 9",
    { timeout: 120_000 },
    async (tens) => {
      const found = await findBreach(seeds(tens * 10 + 1, 10), code);
      expect(found === undefined ? "" : `seed ${found.seed}: ${found.breach}\n${found.history.join("\n")}`).toBe("");
    },
  );

  it("is simulated the same way for the same seed", { timeout: 60_000 }, async () => {
    const [one, two] = [await simulate(scriptOf(7), code), await simulate(scriptOf(7), code)];
    expect(one.history.length).toBeGreaterThan(10);
    expect(two.history).toEqual(one.history);
  });
});
