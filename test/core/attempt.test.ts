import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Attempt, type Processed, progressOf } from "../../core/admission/attempt.ts";
import type { Outcome } from "../../core/rollout/batch.ts";

const outcome = (tenantId: string, changes: Partial<Outcome> = {}): Outcome => ({
  tenantId,
  state: "Admitted",
  generation: 1,
  cell: "c1",
  slots: [1],
  ...changes,
});
const processed = (tenantId: string, changes: Partial<Processed> = {}): Processed => ({
  tenantId,
  reservation: { cell: "c1", slots: { ssh: { slot: 7, free: false } } },
  outcome: outcome(tenantId),
  changed: false,
  ...changes,
});

describe("progressOf", () => {
  it("finishes tenants that were written and whose record has not changed since", () => {
    const { outcomes, deferred, reserved } = progressOf({ earlier: [outcome("a")], processed: [processed("b")] });
    expect({ done: outcomes.map(({ tenantId }) => tenantId), deferred, reserved }).toEqual({
      done: ["a", "b"],
      deferred: [],
      reserved: {},
    });
  });

  it("keeps slots reserved only for a deferred tenant", () => {
    const { deferred, reserved } = progressOf({
      earlier: [],
      processed: [processed("a"), processed("b", { outcome: "deferred" }), processed("c", { changed: true })],
    });
    expect(deferred).toEqual(["b", "c"]); // c's row has its slots already
    expect(Object.keys(reserved)).toEqual(["b"]);
  });

  it("publishes also a tenant whose record has changed since, with all tenants of the batch in its cell", () => {
    const { dirty } = progressOf({
      earlier: [outcome("a", { slots: [3] }), outcome("z", { cell: "c2" })],
      processed: [processed("b", { changed: true })],
    });
    expect(dirty).toEqual([
      {
        cell: "c1",
        tenants: [
          { tenantId: "a", slots: [3] },
          { tenantId: "b", slots: [1] },
        ],
      },
    ]);
  });

  it("publishes nothing for tenants that have neither a record nor a row", () => {
    const nothing = processed("b", { outcome: outcome("b", { state: "none", slots: [] }) });
    expect(progressOf({ earlier: [], processed: [nothing] }).dirty).toEqual([]);
  });

  it("forgets no tenant and counts none twice, whatever happened", () => {
    const one = fc.record({ what: fc.constantFrom("written", "none", "deferred"), changed: fc.boolean() });
    fc.assert(
      fc.property(fc.array(one, { maxLength: 12 }), fc.integer({ min: 0, max: 4 }), (list, before) => {
        const attempt: Attempt = {
          earlier: Array.from({ length: before }, (_, index) => outcome(`e${index}`)),
          processed: list.map(({ what, changed }, index) => {
            const state = what === "none" ? "none" : "Admitted";
            const result = what === "deferred" ? "deferred" : outcome(`p${index}`, { state });
            return processed(`p${index}`, { outcome: result, changed: what === "written" && changed });
          }),
        };
        const { outcomes, deferred } = progressOf(attempt);
        const all = [...outcomes.map(({ tenantId }) => tenantId), ...deferred].sort();
        expect(all).toEqual([...attempt.earlier, ...attempt.processed].map(({ tenantId }) => tenantId).sort());
      }),
    );
  });
});
