import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  asAnnounced,
  type Edge,
  isAnnounced,
  isBeat,
  isReady,
  mergeBeat,
  mergeReport,
  partsOf,
} from "../../core/edges/edge.ts";
import { isNews, type Served } from "../../core/rollout/settle.ts";
import { evaluateWait, forTenant, lackingOf } from "../../core/rollout/waits.ts";
import { edgeLimits } from "../../schemas/limits.ts";
import { EdgeReport } from "../../schemas/report.ts";
import { edge as anEdge } from "../fixtures/edge.ts";

const edge = (edgeId: string, changes: Partial<Edge> = {}) =>
  anEdge(edgeId, { appliedGeneration: 5, reportedAt: 1000, ...changes });

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

describe("lackingOf", () => {
  const lacking = (generation: number, edges: Edge[]) => lackingOf(evaluateWait(generation, edges, 20_000), edges);
  const late = { reportedAt: 20_000 - edgeLimits.recentReportMs - 1 };
  const recent = { reportedAt: 20_000 };

  it("counts the edges that reported lately and do not serve the generation", () => {
    expect(lacking(5, [edge("a", recent), edge("b", { ...recent, appliedGeneration: 4 }), edge("c", late)])).toBe(1);
    expect(lacking(5, [edge("a", recent), edge("c", late)])).toBe(0);
  });

  it("counts all that have not gone when no edge reported lately, so that the status is settled again", () => {
    expect(lacking(5, [edge("a", late), edge("b", late), edge("c", { ...late, terminated: true })])).toBe(2);
    expect(lacking(5, [])).toBe(0);
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
  const identity = { edgeId: "a", cell: "c1", region: "us-west-2", address: "10.0.0.9" };
  const report = (at: number, appliedGeneration: number, changes: Partial<EdgeReport> = {}): EdgeReport => ({
    region: "us-west-2",
    at,
    changedAt: at,
    appliedGeneration,
    serving: true,
    rejectedRoutes: [],
    ...changes,
  });
  const merge = (known: Edge | undefined, said: EdgeReport, now: number, reportedAt = now) =>
    mergeReport(known, identity, { writer: "AROA:a", report: said, reportedAt }, now);

  it("never lowers the applied generation, whatever order reports come in", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(50), fc.nat(20)), { minLength: 1 }), (reports) => {
        let known: Edge | undefined;
        for (const [at, generation] of reports) {
          const next = merge(known, report(at, generation), 0);
          expect(next.appliedGeneration).toBeGreaterThanOrEqual(known?.appliedGeneration ?? 0);
          known = next;
        }
        expect(known?.appliedGeneration).toBe(Math.max(...reports.map(([, generation]) => generation)));
      }),
    );
  });

  it("takes all other fields from the edge's latest report", () => {
    const known = merge(undefined, report(10, 1), 100);
    expect(merge(known, report(9, 1, { serving: false }), 101).serving).toBe(true);
    expect(merge(known, report(11, 1, { serving: false }), 101).serving).toBe(false);
  });

  it("accepts reports of an edge whose clock ran ahead and was set back", () => {
    const ahead = merge(undefined, report(3_600_000, 1), 1000);
    expect(merge(ahead, report(2000, 1, { serving: false }), 2000)).toMatchObject({ serving: false, reportedAt: 2000 });
  });

  it("keeps the latest report, whichever clock the invocation has that reads an older one again", () => {
    const latest = merge(undefined, report(10_400, 1), 6000, 10_000);
    expect(merge(latest, report(9000, 1, { serving: false }), 15_000, 9000).serving).toBe(true);
  });

  it("takes who and where the edge is from its identity, whatever the report says", () => {
    const lie = {
      ...report(10, 1),
      edgeId: "b",
      cell: "c2",
      address: "10.9.9.9",
      region: "eu-west-3",
      acks: [],
      announced: true,
    };
    expect(merge(undefined, EdgeReport.parse(lie), 100)).toMatchObject({ ...identity, writer: "AROA:a" });
    expect(merge(undefined, EdgeReport.parse(lie), 100)).not.toHaveProperty("announced");
  });

  it("is to be announced when it gets full, when it gets fuller, and when it has room again, and once each time", () => {
    let edge = merge(undefined, report(10, 1), 100);
    const says = (at: number, fullness?: "tight" | "full") => {
      edge = merge(edge, report(at, 1, fullness === undefined ? {} : { fullness }), at);
      const due = !isAnnounced(edge);
      const { announcedFullness: _, ...rest } = edge;
      edge = { ...rest, ...asAnnounced(edge) };
      return [edge.fullness, due];
    };
    expect(says(11)).toEqual([undefined, true]); // its readiness
    expect([says(12), says(13, "tight"), says(14, "tight")]).toEqual([
      [undefined, false],
      ["tight", true],
      ["tight", false],
    ]);
    expect([says(15, "full"), says(16), says(17)]).toEqual([
      ["full", true],
      [undefined, true],
      [undefined, false],
    ]);
    expect(merge(edge, report(12, 1, { fullness: "full" }), 18)).not.toHaveProperty("fullness"); // an older report
  });

  it("is as recent as the report was written, however late it comes", () => {
    const late = merge(edge("a", { reportedAt: 1000 }), report(2000, 5), 600_000, 2000);
    expect(late.reportedAt).toBe(2000);
    expect(merge(late, report(2001, 5), 600_000, 1500).reportedAt).toBe(2000);
  });

  it("never makes a terminated edge ready", () => {
    const after = merge(edge("a", { terminated: true }), report(2_000_000, 9), 2_000_000);
    expect([isReady(after), after.terminated]).toEqual([false, true]);
  });

  it("notes nothing but the time of a report that says the same", () => {
    const known = merge(undefined, report(10, 1), 1000);
    const { summary } = partsOf(known);
    const beat = { writer: "AROA:a", report: report(20, 1, { changedAt: 10 }), reportedAt: 5000 };
    expect(isBeat(summary, beat.report)).toBe(true);
    expect(mergeBeat(summary, beat)).toEqual({ ...summary, reportedAt: 5000, edgeAt: 20 });
  });

  it("parts an edge into summary and details, and loses nothing", () => {
    const whole = merge(
      undefined,
      report(10, 1, { structure: "s", closing: [], nack: { generation: 2, reason: "r" } }),
      1000,
    );
    const { summary, detail } = partsOf(whole);
    expect({ ...summary, ...detail }).toEqual(whole);
  });

  it("calls an edge ready once it serves a generation", () => {
    expect(isReady(edge("a", { appliedGeneration: 0 }))).toBe(false);
    expect(isReady(edge("a"))).toBe(true);
  });
});
