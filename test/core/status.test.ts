import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { TenantRow } from "../../core/admission/tenant-row.ts";
import { chunksOf } from "../../core/rollout/batch.ts";
import { conditionsOf } from "../../core/rollout/conditions.ts";
import { traceOf } from "../../core/rollout/trace.ts";

/** A status that is settled and served by all. */
const status = {
  observedGeneration: 2,
  snapshotGeneration: 9,
  served: "all",
  missing: [],
  committedAt: 6,
  settledAt: 7,
};

describe("conditionsOf", () => {
  const row = {
    state: "Admitted",
    reasons: [],
    generation: 2,
    at: 5,
    admitted: { generation: 2 },
  } as unknown as TenantRow;
  const words = (facts: Parameters<typeof conditionsOf>[0]) =>
    conditionsOf(facts).map(({ status: is, reason }) => `${is} ${reason}`);

  it("shows the progress of a tenant's change", () => {
    expect(words({ row, status, refusals: [] })).toEqual(["True Admitted", "True Committed", "True ServedByAll"]);
    expect(words({ row, status: { ...status, observedGeneration: 1 }, refusals: [] })).toEqual([
      "True Admitted",
      "Unknown RollingOut",
      "Unknown RollingOut",
    ]);
    expect(words({ row, status: { ...status, served: "partly", missing: ["e"] }, refusals: [] })[2]).toBe(
      "False PartlyServed",
    );
    expect(words({ row, status, refusals: [{ edgeId: "e", region: "r", reason: "no", at: 1 }] })[2]).toBe(
      "False Quarantined",
    );
    const full = { ...row, state: "Pending" as const, reasons: ["CellFull: cell c1 has no free slot for ssh"] };
    expect(words({ row: full, status, refusals: [] })[0]).toBe("False CellFull");
  });
});

describe("conditionsOf a removed tenant", () => {
  const removed = { state: "Removed", reasons: [], generation: 2, at: 5 } as unknown as TenantRow;
  const words = (row: TenantRow) =>
    conditionsOf({ row, status, refusals: [] }).map(({ status: is, reason }) => `${is} ${reason}`);

  it("says that its removal was published, if it was ever admitted", () => {
    expect(words(removed)).toEqual(["False Removed", "True Committed", "False Removed"]);
    expect(words({ ...removed, neverAdmitted: true })).toEqual([
      "False Removed",
      "False NeverAdmitted",
      "False NeverAdmitted",
    ]);
  });
});

describe("traceOf", () => {
  it("orders the steps by time, with the duration of each", () => {
    const steps = traceOf({
      sequence: "42",
      startedAt: 100,
      admittedAt: 130,
      decision: "admitted",
      committedAt: 150,
      generation: 7,
      settledAt: 260,
      acks: [
        { edgeId: "b", region: "r", at: 250 },
        { edgeId: "a", region: "r", at: 200 },
      ],
    });
    expect(steps.map(({ step, sinceLast, sinceStart }) => [step, sinceLast, sinceStart])).toEqual([
      ["stream 42", 0, 0],
      ["admitted", 30, 30],
      ["committed as generation 7", 20, 50],
      ["served by a (r)", 50, 100],
      ["served by b (r)", 50, 150],
      ["settled", 10, 160],
    ]);
  });
});

describe("chunksOf", () => {
  it("keeps every tenant once, in chunks that fit in one item", () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.string({ minLength: 1, maxLength: 2000 }), { maxLength: 60 }), (ids) => {
        const chunks = chunksOf(ids);
        expect(chunks.flat()).toEqual(ids.toSorted());
        for (const chunk of chunks)
          expect(chunk.length === 1 || Buffer.byteLength(chunk.join("")) <= 40_000).toBe(true);
      }),
    );
  });
});
