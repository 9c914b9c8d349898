import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type AdmissionPlan, admit, slotsWanted, writesOf } from "../../core/admission/admit.ts";
import { groupsOf } from "../../core/admission/groups.ts";
import { validateRecord } from "../../core/admission/validate.ts";
import { pointOf } from "../../core/names/claims.ts";
import { tenantLimits } from "../../schemas/limits.ts";
import { cell, fleet, record } from "../fixtures/fleet.ts";

/** What admits a new tenant with these names. */
function planOf(tenantId: string, hostnames: string[]): AdmissionPlan {
  const value = record({ tenantId, hostnames, protocols: { tls: 3080 } });
  const row = {
    row: undefined,
    rules: fleet,
    proven: new Set<string>(),
    namesHeld: false,
    bucketRoom: 1e6,
    now: 1000,
    batchId: "b1",
  };
  const facts = { ...row, tenantId, hash: tenantId, record: validateRecord(value, fleet), cell };
  const plan = admit(
    facts,
    Object.fromEntries(slotsWanted(facts).map((name) => [name, { slot: 20_000, free: false }])),
  );
  if (plan.kind !== "write") throw new Error("nothing to write");
  return plan;
}

const names = fc.uniqueArray(
  fc.tuple(fc.nat({ max: 40 }), fc.constantFrom("tenants.example.com", "example.net", "example.org")),
  { minLength: 1, maxLength: 20, selector: String },
);

describe("groups of admissions", () => {
  it("have each plan once, and fit into a transaction, which takes no item twice", () => {
    fc.assert(
      fc.property(fc.array(names, { maxLength: 60 }), (tenants) => {
        const plans = tenants.map((hosts, index) =>
          planOf(
            `t${index}`,
            hosts.map(([number, domain]) => `n${number}.${domain}`),
          ),
        );
        const groups = groupsOf(plans);
        expect(new Set(groups.flat())).toEqual(new Set(plans));
        expect(groups.flat()).toHaveLength(plans.length);
        for (const group of groups) {
          expect(group.length).toBeLessThanOrEqual(tenantLimits.admissionsPerTransactionMax);
          expect(group.reduce((sum, plan) => sum + writesOf(plan), 0)).toBeLessThanOrEqual(100);
          const points = group.flatMap(({ claim }) => [...new Set(claim.map(pointOf))]);
          expect(new Set(points).size).toBe(points.length);
        }
      }),
      { numRuns: 100 },
    );
  });

  it("are as few as tenants of their own names allow", () => {
    const plans = Array.from({ length: 100 }, (_, index) => planOf(`t${index}`, [`t${index}.tenants.example.com`]));
    expect(groupsOf(plans).map((group) => group.length)).toEqual([25, 25, 25, 25]);
    const many = (tenant: number) =>
      Array.from({ length: 20 }, (_, index) => `n${tenant}-${index}.tenants.example.com`);
    const large = Array.from({ length: 9 }, (_, index) => planOf(`t${index}`, many(index)));
    expect(large.map(writesOf)).toEqual(Array.from({ length: 9 }, () => 23)); // a row, 20 names, a slot, a route
    expect(groupsOf(large).map((group) => group.length)).toEqual([4, 4, 1]);
    const siblings = Array.from({ length: 3 }, (_, index) => planOf(`t${index}`, [`t${index}.example.net`]));
    expect(groupsOf(siblings)).toHaveLength(3);
  });
});
