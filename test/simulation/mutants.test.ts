import { describe, expect, it } from "vitest";
import { bundle } from "./functions.ts";
import { mutants } from "./mutants.ts";
import { findBreach, simulate } from "./run.ts";
import { scriptOf } from "./script.ts";

describe("the simulation", () => {
  it.each(mutants)("finds a control plane that $name", { timeout: 180_000 }, async (mutant) => {
    const code = await bundle(mutant);
    let breach: string | undefined;
    const { firstSeed = 1 } = mutant;
    for (let seed = firstSeed; seed < firstSeed + 100 && breach === undefined; seed++)
      ({ breach } = await simulate(scriptOf(seed), code));
    expect(breach).toMatch(/^law ([1-79]|1[012]): /);
  });

  it("prints a short history of the events that led to a breach", { timeout: 180_000 }, async () => {
    const code = await bundle(mutants[0]);
    const found = await findBreach([1, 2, 3, 4, 5, 6, 7, 8], code);
    const whole = scriptOf(found!.seed).happenings.length;
    const happened = found!.history.filter((line) => /^ *\d+ (put|delete|crash|stall|throttle|cut-off|lag)/.test(line));
    expect(happened.length).toBeLessThan(whole / 2);
  });
});
