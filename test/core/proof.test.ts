import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type AdmissionFacts, admit, proofsWanted, slotsWanted } from "../../core/admission/admit.ts";
import type { TenantRow } from "../../core/admission/tenant-row.ts";
import { validateRecord } from "../../core/admission/validate.ts";
import { namesToProve, nextLookAt, tokenOf } from "../../core/names/proof.ts";
import { proofLimits } from "../../schemas/limits.ts";
import type { TenantRecord } from "../../schemas/tenant.ts";
import { cell, fleet, record } from "../fixtures/fleet.ts";

const rules = { ...fleet, requireProof: true };
const facts = (value: TenantRecord, row?: TenantRow, proven: string[] = []): AdmissionFacts => ({
  tenantId: "acme",
  row,
  hash: JSON.stringify(value),
  record: validateRecord(value, fleet),
  cell,
  rules,
  proven: new Set(proven),
  namesHeld: false,
  bucketRoom: 1_000_000,
  now: 1000,
  batchId: "b1",
});
const custom = record({ hostnames: ["acme.tenants.example.com", "acme.com"], wildcards: ["*.acme.com"] });
const slots = { tls: { slot: 20_000, free: false }, ssh: { slot: 0, free: false } };
const admitted = (of: AdmissionFacts) => {
  const plan = admit(of, slotsWanted(of).length > 0 ? slots : {});
  if (plan.kind !== "write") throw new Error("nothing to write");
  return plan;
};

describe("a fleet that requires proofs", () => {
  it("lets a custom name wait, takes no slot for it, and says which record to write where", () => {
    const of = facts(custom);
    expect(slotsWanted(of)).toEqual([]);
    const { row, claim, proof } = admitted(of);
    expect(row).toMatchObject({ state: "Pending", unproven: ["acme.com"], retry: true });
    expect(row.reasons).toEqual([
      `Unproven: hostnames: add the TXT record "${tokenOf("test", "tenant:acme")}" at _landfall.acme.com to show that acme.com is yours. It is looked for every minute at first, later every hour`,
    ]);
    expect(claim).toEqual([]);
    expect(proof).toBe("awaited");
  });

  it("admits it once it is proven, and stops looking", () => {
    const waiting = admitted(facts(custom)).row;
    const { row, proof } = admitted(facts(custom, waiting, ["acme.com"]));
    expect(row).toMatchObject({ state: "Admitted" });
    expect(row).not.toHaveProperty("unproven");
    expect(proof).toBe("over");
  });

  it("stops looking when the record gives the name up, or is gone", () => {
    const waiting = admitted(facts(custom)).row;
    expect(admitted(facts(record(), waiting)).proof).toBe("over");
    const gone = admit({ ...facts(record(), waiting), hash: "absent", record: undefined }, {});
    expect(gone).toMatchObject({ proof: "over", row: { state: "Removed" } });
  });

  it("serves what was admitted before, and asks for no proof of names that a tenant holds", () => {
    const before = admitted({ ...facts(custom), rules: fleet }).row;
    expect(admitted(facts({ ...custom, hostnames: [...custom.hostnames, "a.acme.com"] }, before)).row.state).toBe(
      "Admitted",
    );
    const more = admitted(facts({ ...custom, hostnames: [...custom.hostnames, "acme.org"] }, before)).row;
    expect(more).toMatchObject({ state: "Pending", unproven: ["acme.org"], admitted: before.admitted });
  });

  it("asks for none where the fleet requires none", () => {
    expect(proofsWanted({ ...facts(custom), rules: fleet })).toEqual([]);
  });
});

describe("namesToProve", () => {
  it.each<[string, string[], string[], string[]]>([
    ["names of the platform need none", ["a.tenants.example.com", "*.b.tenants.example.com"], [], []],
    ["a wildcard is proven at its parent", ["*.acme.com"], [], ["acme.com"]],
    ["what is below another one is in the same hands", ["acme.com", "a.acme.com", "*.b.acme.com"], [], ["acme.com"]],
    ["siblings are proven each", ["a.acme.com", "b.acme.com"], [], ["a.acme.com", "b.acme.com"]],
    ["what is below a held name is in the same hands", ["a.acme.com"], ["acme.com"], []],
    ["what is above a held name is not", ["acme.com"], ["a.acme.com"], ["acme.com"]],
    ["a name that only ends alike is another one", ["xacme.com"], ["acme.com"], ["xacme.com"]],
  ])("%s", (_, wanted, held, expected) => {
    expect(namesToProve(wanted, held, fleet)).toEqual(expected);
  });
});

describe("a token", () => {
  it("is one owner's in one stage", () => {
    const tokens = [tokenOf("a", "tenant:x"), tokenOf("b", "tenant:x"), tokenOf("a", "account:x")];
    expect(new Set(tokens).size).toBe(3);
    expect(tokens[0]).toMatch(/^landfall=[0-9a-f]{40}$/);
  });
});

describe("looks for a proof", () => {
  it("come every minute at first, and never later than an hour", () => {
    fc.assert(
      fc.property(fc.nat({ max: 5000 }), (looks) => {
        const wait = nextLookAt(looks, 7) - 7;
        expect(wait).toBeGreaterThanOrEqual(proofLimits.everyMs);
        expect(wait).toBeLessThanOrEqual(3600_000);
        if (looks <= 20) expect(wait).toBe(proofLimits.everyMs);
        if (looks >= 30) expect(wait).toBe(3600_000);
      }),
    );
  });
});
