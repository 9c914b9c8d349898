import { describe, expect, it } from "vitest";
import { type Credit, paceOf, spend } from "../../core/rollout/pace.ts";
import { rolloutLimits } from "../../schemas/limits.ts";

const { paceBurst, paceMs } = rolloutLimits;

describe("the pace of a tenant's rollouts", () => {
  /** Deliveries with one write each at these times; the times at which a rollout started at once. */
  function started(times: number[]): number[] {
    let credits: ReadonlyMap<string, Credit> = new Map();
    return times.filter((now) => {
      const { atOnce } = paceOf(["acme"], credits, now);
      credits = spend(atOnce, credits, now);
      return atOnce.length > 0;
    });
  }

  it("lets a few rollouts start at once, and then one in each interval", () => {
    const fiftyASecond = Array.from({ length: 500 }, (_, index) => index * 20);
    const starts = started(fiftyASecond);
    expect(starts.slice(0, paceBurst)).toEqual([0, 20, 40]);
    expect(starts.length).toBeLessThanOrEqual(paceBurst + 10_000 / paceMs);
    const slow = Array.from({ length: 20 }, (_, index) => index * paceMs);
    expect(started(slow)).toEqual(slow);
  });

  it("is each tenant's own", () => {
    const credits = new Map([["loud", { left: 0, at: 0 }]]);
    expect(paceOf(["loud", "quiet"], credits, 1)).toEqual({ atOnce: ["quiet"], turns: ["loud"] });
  });

  it("is remembered only as long as it matters", () => {
    const credits = spend(["acme"], new Map(), 0);
    expect(spend([], credits, paceMs - 1).size).toBe(1);
    expect(spend([], credits, paceMs).size).toBe(0);
  });
});
