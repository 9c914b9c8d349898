import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type EdgeRow, isReady, mergeReport } from "../../core/edges/edge.ts";
import { isNews, type Served } from "../../core/rollout/settle.ts";
import { evaluateWait, forTenant } from "../../core/rollout/waits.ts";
import { edgeLimits } from "../../schemas/limits.ts";

const edge = (edgeId: string, changes: Partial<EdgeRow> = {}): EdgeRow => ({
  edgeId,
  cell: "c1",
  region: "us-west-2",
  address: "10.0.0.1",
  appliedGeneration: 5,
  serving: true,
  reportedAt: 1000,
  edgeAt: 1000,
  rejectedRoutes: [],
  ...changes,
});

describe("evaluateWait", () => {
  it("is satisfied when every edge that reported lately serves the generation, or a later one", () => {
    expect(evaluateWait(5, [edge("a"), edge("b", { appliedGeneration: 6 })], 1000).satisfied).toBe(true);
    expect(evaluateWait(6, [edge("a"), edge("b", { appliedGeneration: 6 })], 1000).satisfied).toBe(false);
  });

  it("does not wait for an edge that stopped reporting or never served", () => {
    const silent = edge("b", { appliedGeneration: 1, reportedAt: 1000 - edgeLimits.recentReportMs - 1 });
    expect(evaluateWait(5, [edge("a"), silent, edge("c", { appliedGeneration: 0 })], 1000).satisfied).toBe(true);
  });

  it("is never satisfied without edges", () => {
    expect(evaluateWait(1, [], 0).satisfied).toBe(false);
  });

  it("names the missing edges and the reason for each", () => {
    const refusing = edge("b", { appliedGeneration: 4, nack: { generation: 5, reason: "no valid signature" } });
    expect(evaluateWait(5, [edge("a"), refusing], 1000).missing).toEqual([
      { edgeId: "b", region: "us-west-2", reason: "no valid signature" },
    ]);
  });
});

describe("forTenant", () => {
  it("does not count an edge as serving a tenant whose route it refuses", () => {
    const edges = [
      edge("a"),
      edge("b", { rejectedRoutes: [{ tenantId: "acme", slot: 1, reason: "outside the ranges" }] }),
    ];
    const all = evaluateWait(5, edges, 1000);
    expect(forTenant(all, edges, "globex")).toEqual(all);
    expect(forTenant(all, edges, "acme")).toMatchObject({
      satisfied: false,
      missing: [{ edgeId: "b", reason: "outside the ranges" }],
    });
  });
});

describe("isNews", () => {
  const served = (generation: number, by: Served) => ({ generation, detailType: "Tenant Served", served: by });
  const rejected = (generation: number) => ({ generation, detailType: "Tenant Rejected" });

  it("is an event of a newer generation or of another kind, never of an older generation", () => {
    expect(isNews(rejected(1), undefined)).toBe(true);
    expect(isNews(rejected(2), served(1, "all"))).toBe(true);
    expect(isNews(served(2, "all"), rejected(2))).toBe(true);
    expect(isNews(rejected(2), rejected(2))).toBe(false);
    expect(isNews(served(1, "all"), rejected(2))).toBe(false);
  });

  it("is served by all edges after served by some, never the other way round", () => {
    expect(isNews(served(1, "all"), served(1, "partly"))).toBe(true);
    expect(isNews(served(1, "partly"), served(1, "partly"))).toBe(false);
    expect(isNews(served(1, "partly"), served(1, "all"))).toBe(false);
    expect(isNews(served(1, "all"), served(1, "all"))).toBe(false);
  });
});

describe("mergeReport", () => {
  const report = (at: number, appliedGeneration: number) => ({ ...edge("a"), at, appliedGeneration });

  it("never lowers the applied generation, whatever order reports come in", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(50), fc.nat(20)), { minLength: 1 }), (reports) => {
        let row: EdgeRow | undefined;
        for (const [at, generation] of reports) {
          const next = mergeReport(row, report(at, generation), 0);
          expect(next.appliedGeneration).toBeGreaterThanOrEqual(row?.appliedGeneration ?? 0);
          row = next;
        }
        expect(row?.appliedGeneration).toBe(Math.max(...reports.map(([, generation]) => generation)));
      }),
    );
  });

  it("takes all other fields from the edge's latest report", () => {
    const row = mergeReport(undefined, { ...report(10, 1), serving: true }, 100);
    expect(mergeReport(row, { ...report(9, 1), serving: false }, 101).serving).toBe(true);
    expect(mergeReport(row, { ...report(11, 1), serving: false }, 101).serving).toBe(false);
  });

  it("accepts reports of an edge whose clock ran ahead and was set back", () => {
    const ahead = mergeReport(undefined, { ...report(3_600_000, 1), serving: true }, 1000);
    expect(mergeReport(ahead, { ...report(2000, 1), serving: false }, 2000)).toMatchObject({
      serving: false,
      reportedAt: 2000,
    });
  });

  it("calls an edge ready once it serves a generation", () => {
    expect(isReady(edge("a", { appliedGeneration: 0 }))).toBe(false);
    expect(isReady(edge("a"))).toBe(true);
  });
});
