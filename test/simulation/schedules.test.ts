import { describe, expect, it } from "vitest";
import { bundle } from "./functions.ts";
import { mutants } from "./mutants.ts";
import { explore } from "./schedules.ts";

const found = async (mutant: string | undefined, bound: number, faultBound: number) => {
  const { breach, schedules } = await explore(
    await bundle(mutants.find(({ name }) => name === mutant)),
    bound,
    faultBound,
  );
  return { schedules, what: breach?.what };
};

describe("two publishers, two tenants and one edge", () => {
  it("always keep the laws, in each schedule that costs two, and whatever call a publisher dies or hangs in", {
    timeout: 120_000,
  }, async () => {
    const { schedules, what } = await found(undefined, 2, 0);
    expect(what).toBeUndefined();
    expect(schedules).toBeGreaterThan(400);
  });

  it("sometimes break them, when manifests are written without a condition", { timeout: 120_000 }, async () => {
    expect((await found("writes manifests without a condition", 0, 0)).what).toMatch(/^law 3: manifest 2 over 3/);
  });
});
