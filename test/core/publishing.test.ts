import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { canonicalJson } from "../../core/canonical.ts";
import { bucketsToRender, slotsToRead, withChanges } from "../../core/publishing/changes.ts";
import { manifestStep } from "../../core/publishing/commit.ts";
import { gateRoutes } from "../../core/publishing/gate.ts";
import { renderBucket } from "../../core/publishing/render.ts";
import type { Route } from "../../schemas/snapshot.ts";

const route = (slot: number, changes: Partial<Route> = {}): Route => ({
  slot,
  tenantId: `t${slot}`,
  protocol: "tls",
  generation: 1,
  hostnames: [`t${slot}.example.com`],
  backends: { "us-west-2": ["10.0.0.1:3080"] },
  ...changes,
});

describe("renderBucket", () => {
  it("gives the same bytes whatever the order of routes", () => {
    fc.assert(
      fc.property(fc.shuffledSubarray([1, 2, 3, 4, 5, 6, 7], { minLength: 7 }), (slots) => {
        expect(renderBucket(slots.map((slot) => route(slot)))).toBe(
          renderBucket([1, 2, 3, 4, 5, 6, 7].map((slot) => route(slot))),
        );
      }),
    );
  });
});

describe("renderBucket's bytes", () => {
  it("are the canonical JSON of a route bucket, however often a route was rendered", () => {
    const routes = [route(2), route(1)];
    for (let times = 0; times < 2; times++)
      expect(renderBucket(routes)).toBe(`${canonicalJson({ routes: routes.toReversed() })}\n`);
  });
});

describe("canonicalJson", () => {
  it("gives the same text for the same value, and the value back", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (value) => {
        const reversed = Object.fromEntries(Object.entries(value).reverse());
        expect(canonicalJson(reversed)).toBe(canonicalJson(value));
        expect(JSON.parse(canonicalJson(value))).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
  });
});

describe("gateRoutes", () => {
  const live = [route(1), route(2)];

  it("lets new routes and changes with a greater generation pass", () => {
    expect(
      gateRoutes(live, [route(1), route(2, { generation: 2, hostnames: ["other.example.com"] }), route(3)], []),
    ).toEqual([]);
  });

  it("refuses a change without a new generation", () => {
    expect(gateRoutes(live, [route(1), route(2, { hostnames: ["stolen.example.com"] })], [])).toEqual([
      "slot 2 of t2 would change without a new generation",
    ]);
  });

  it("refuses a route that vanishes without a removal", () => {
    expect(gateRoutes(live, [route(1)], [])).toEqual(["slot 2 of t2 would vanish without a removal in the ledger"]);
    expect(gateRoutes(live, [route(1)], [{ slot: 2, tenantId: "t2", generation: 1 }])).toHaveLength(1);
    expect(gateRoutes(live, [route(1)], [{ slot: 2, tenantId: "t2", generation: 2 }])).toEqual([]);
  });

  it("refuses to replace routes with an empty set", () => {
    expect(gateRoutes(live, [], [])).toHaveLength(2);
  });

  it("refuses a slot that changes its tenant in one step, and two routes in one slot", () => {
    expect(gateRoutes(live, [route(1), route(2, { tenantId: "thief", generation: 9 })], [])).toHaveLength(1);
    expect(gateRoutes([], [route(1), route(1)], [])).toEqual(["two routes share a slot"]);
  });
});

describe("bucketsToRender", () => {
  it("renders everything for the first commit, and only the tenants' buckets after it", () => {
    expect(bucketsToRender([], undefined)).toHaveLength(64);
    expect(bucketsToRender([9, 3, 9], { routes: [] })).toEqual([3, 9]);
    expect(bucketsToRender([], { routes: [] })).toEqual([]);
  });
});

describe("withChanges", () => {
  const live = [route(1), route(2, { tenantId: "acme" }), route(3, { tenantId: "acme" })];

  it("reads the marked slots and the live ones, because a mark may be late and incomplete", () => {
    expect(slotsToRead(live, [{ tenantId: "acme", slots: [3, 9] }])).toEqual([2, 3, 9]);
  });

  it("takes the routes of changed tenants from the ledger, and keeps all others", () => {
    const newer = route(3, { tenantId: "acme", generation: 2 });
    const removed = [{ slot: 2, tenantId: "acme", generation: 2 }];
    const next = withChanges(live, [{ tenantId: "acme", slots: [] }], { routes: [newer], removed });
    expect(next.routes).toEqual([route(1), newer]);
    expect(gateRoutes(live, next.routes, next.removed)).toEqual([]);
  });

  it("keeps a marked slot that now belongs to another tenant", () => {
    const other = route(9, { tenantId: "other" });
    const changed = [{ tenantId: "acme", slots: [9] }];
    expect(withChanges([other], changed, { routes: [other], removed: [] }).routes).toEqual([other]);
  });
});

describe("manifestStep", () => {
  const at = (generation: number, incarnation = "x", routes = ["a"]) => ({ generation, incarnation, routes });
  it("writes only newer generations, and stops when the ledger is behind", () => {
    expect(manifestStep(undefined, at(5))).toBe("write");
    expect(manifestStep(at(4), at(5))).toBe("write");
    expect(manifestStep(at(5), at(5))).toBe("current");
    expect(manifestStep(at(6), at(5))).toBe("ledger-behind");
    expect(manifestStep(at(1, "y"), at(5))).toBe("ledger-behind");
  });

  it("detects by its routes a restored ledger that has reached the manifest's generation again", () => {
    expect(manifestStep(at(5, "x", ["b"]), at(5))).toBe("ledger-behind");
  });
});
