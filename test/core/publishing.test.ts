import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { assertPublishPlan } from "../../core/assert.ts";
import { canonicalJson } from "../../core/canonical.ts";
import { bucketsToRender, mergeChanges, slotsToRead, withChanges } from "../../core/publishing/changes.ts";
import { type Commit, manifestStep } from "../../core/publishing/commit.ts";
import { gateRoutes } from "../../core/publishing/gate.ts";
import { type BucketFacts, planPublish, whyWithheld, withheldAfter } from "../../core/publishing/plan.ts";
import { renderBucket } from "../../core/publishing/render.ts";
import { everyBucket } from "../../core/routes/buckets.ts";
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
  const reasons = (...facts: Parameters<typeof gateRoutes>) => {
    const { tenants, bucket } = gateRoutes(...facts);
    return [...tenants.map(({ tenantId, reason }) => `${tenantId}: ${reason}`), ...bucket];
  };

  it("lets new routes and changes with a greater generation pass", () => {
    expect(
      reasons(live, [route(1), route(2, { generation: 2, hostnames: ["other.example.com"] }), route(3)], []),
    ).toEqual([]);
  });

  it("refuses a change without a new generation", () => {
    expect(reasons(live, [route(1), route(2, { hostnames: ["stolen.example.com"] })], [])).toEqual([
      "t2: slot 2 of t2 would change without a new generation",
    ]);
  });

  it("refuses a route that vanishes without a removal", () => {
    expect(reasons(live, [route(1)], [])).toEqual(["t2: slot 2 of t2 would vanish without a removal in the ledger"]);
    expect(reasons(live, [route(1)], [{ slot: 2, tenantId: "t2", generation: 1 }])).toHaveLength(1);
    expect(reasons(live, [route(1)], [{ slot: 2, tenantId: "t2", generation: 2 }])).toEqual([]);
  });

  it("refuses to replace routes with an empty set", () => {
    expect(reasons(live, [], [])).toHaveLength(2);
  });

  it("refuses a slot that changes its tenant in one step, and two routes in one slot", () => {
    expect(reasons(live, [route(1), route(2, { tenantId: "thief", generation: 9 })], [])).toEqual([
      "thief: slot 2 would move from tenant t2 to thief in one step",
    ]);
    expect(reasons([], [route(1), route(1)], [])).toEqual(["two routes share a slot"]);
  });
});

describe("planPublish", () => {
  const before = [route(1), route(2), route(3)];
  const hash = "0".repeat(64);
  const live: Commit = {
    generation: 7,
    incarnation: "one",
    routes: everyBucket.map(() => hash),
    structure: { default: hash, overrides: {} },
    sizes: everyBucket.map(() => 1),
    committedAt: 1,
  };
  const read = (routes: Route[]) => ({ routes, unread: [], hashes: [] });
  const plan = (buckets: BucketFacts[], commit: Commit | undefined = live) =>
    planPublish({
      live: commit,
      buckets,
      structure: live.structure,
      edges: commit?.edges ?? [],
      incarnation: "one",
      now: 2,
    });
  const mark = (tenantId: string) => ({ tenantId, slots: [Number(tenantId.slice(1))] });
  const changed = (...ids: string[]) => ids.map(mark);
  const bad = route(1, { hostnames: ["stolen.example.com"] });
  const good = route(2, { generation: 2, hostnames: ["new.example.com"] });

  it("withholds a refused tenant alone: others of its bucket, and other buckets, are published", () => {
    const { buckets, withheld, commit } = plan([
      {
        bucket: 4,
        changed: changed("t1", "t2"),
        live: read(before),
        now: { routes: [bad, good, route(3)], removed: [] },
      },
      { bucket: 5, changed: changed("t9"), live: read([]), now: { routes: [route(9)], removed: [] } },
    ]);
    const reason = "slot 1 of t1 would change without a new generation";
    expect(withheld).toEqual([{ bucket: 4, tenants: [{ ...mark("t1"), reason }], reasons: [reason] }]);
    expect(buckets.map(({ bucket }) => bucket)).toEqual([4, 5]);
    expect(buckets[0]!.objects).toEqual(renderBucket([route(1), good, route(3)]).objects);
    expect(commit.generation).toBe(8);
    expect(() => assertPublishPlan({ buckets, withheld, commit }, live)).not.toThrow();
    expect(whyWithheld(withheld, "t1")).toBe(reason);
    expect(whyWithheld(withheld, "t2")).toBeUndefined();
  });

  it("withholds both tenants of a slot that would move in one step", () => {
    const thief = route(1, { tenantId: "t8", generation: 9 });
    const now = { routes: [thief, good, route(3)], removed: [] };
    const { buckets, withheld } = plan([{ bucket: 4, changed: changed("t1", "t2", "t8"), live: read(before), now }]);
    expect(withheld[0]!.tenants.map(({ tenantId }) => tenantId)).toEqual(["t1", "t8"]);
    expect(whyWithheld(withheld, "t8")).toBe("slot 1 would move from tenant t1 to t8 in one step");
    expect(whyWithheld(withheld, "t1")).toBe("slot 1 of t1 would vanish without a removal in the ledger");
    expect(buckets[0]!.objects).toEqual(renderBucket([route(1), good, route(3)]).objects);
  });

  it("withholds every change of a bucket that is wrong as a whole, and leaves the live commit as it is", () => {
    const now = { routes: [...before, route(4), route(4)], removed: [] };
    const reason = "two routes share a slot";
    const whole = { ...live, routes: live.routes.with(4, renderBucket(before).hash) };
    const { buckets, withheld, commit } = plan([{ bucket: 4, changed: changed("t4"), live: read(before), now }], whole);
    expect(withheld).toEqual([{ bucket: 4, tenants: [{ ...mark("t4"), reason }], reasons: [reason] }]);
    expect(buckets).toEqual([]);
    expect(commit).toBe(whole);
  });

  it("commits when only the cell's edges changed, so that they learn of each other", () => {
    const edges = [{ id: "i-1", region: "us-west-2", address: "10.0.0.1" }];
    const facts = { live, buckets: [], structure: live.structure, edges, incarnation: "one", now: 2 };
    const { commit } = planPublish(facts);
    expect(commit).toMatchObject({ generation: live.generation + 1, routes: live.routes, edges });
    expect(planPublish({ ...facts, live: commit }).commit).toBe(commit);
  });

  it("puts an empty bucket into a cell's first commit when the bucket is wrong as a whole", () => {
    const first = everyBucket.map((bucket): BucketFacts => {
      const routes = bucket === 4 ? [route(4), route(4)] : [];
      return { bucket, changed: [], live: read([]), now: { routes, removed: [] } };
    });
    const { buckets } = planPublish({
      live: undefined,
      buckets: first,
      structure: live.structure,
      edges: [],
      incarnation: "one",
      now: 2,
    });
    expect(buckets[4]!.objects).toEqual(renderBucket([]).objects);
    expect(buckets).toHaveLength(64);
  });

  it("never changes a route that the gate would refuse, whatever the ledger has", () => {
    const some = fc.record({ slot: fc.nat(5), owner: fc.nat(3), generation: fc.nat(3), host: fc.nat(2) });
    const routesOf = (list: { slot: number; owner: number; generation: number; host: number }[]) =>
      list.map(({ slot, owner, generation, host }) =>
        route(slot, { tenantId: `t${owner}`, generation, hostnames: [`h${host}-${owner}.example.com`] }),
      );
    const unique = fc.uniqueArray(some, { selector: ({ slot }) => slot });
    fc.assert(
      fc.property(unique, unique, (old, next) => {
        const facts = { bucket: 4, changed: changed("t0", "t1", "t2", "t3"), live: read(routesOf(old)) };
        const now = { routes: routesOf(next), removed: [] };
        const { buckets, withheld } = plan([{ ...facts, now }]);
        const published = buckets[0]?.routes ?? facts.live.routes;
        expect(gateRoutes(facts.live.routes, published, [])).toEqual({ tenants: [], bucket: [] });
        const waiting = new Set(withheld.flatMap(({ tenants }) => tenants.map(({ tenantId }) => tenantId)));
        for (const wanted of now.routes) if (!waiting.has(wanted.tenantId)) expect(published).toContainEqual(wanted);
      }),
    );
  });
});

describe("withheldAfter", () => {
  it("keeps what is withheld of buckets that the plan did not look at, and replaces the rest", () => {
    const entry = (bucket: number, reason: string) => ({ bucket, tenants: [], reasons: [reason] });
    const made = { buckets: [], withheld: [entry(2, "again"), entry(5, "new")], commit: {} as Commit };
    const before = [entry(1, "old"), entry(2, "old"), entry(3, "old")];
    expect(withheldAfter(before, new Set([2, 3, 5]), made)).toEqual([
      entry(1, "old"),
      entry(2, "again"),
      entry(5, "new"),
    ]);
  });
});

describe("bucketsToRender", () => {
  it("renders everything for the first commit, and only the tenants' buckets after it", () => {
    expect(bucketsToRender([], undefined)).toHaveLength(64);
    expect(bucketsToRender([9, 3, 9], { routes: [] })).toEqual([3, 9]);
    expect(bucketsToRender([], { routes: [] })).toEqual([]);
  });
});

describe("mergeChanges", () => {
  it("names each tenant once, with the slots of all its marks", () => {
    const marks = [
      { tenantId: "b", slots: [7, 3] },
      { tenantId: "a", slots: [] },
      { tenantId: "b", slots: [3, 9] },
    ];
    const merged = [
      { tenantId: "a", slots: [] },
      { tenantId: "b", slots: [3, 7, 9] },
    ];
    expect(mergeChanges(marks)).toEqual(merged);
    expect(mergeChanges([...merged, ...marks])).toEqual(merged);
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
    expect(gateRoutes(live, next.routes, next.removed)).toEqual({ tenants: [], bucket: [] });
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
