import { describe, expect, it } from "vitest";
import { type AdmissionPlan, admit } from "../../core/admission/admit.ts";
import type { TenantRow } from "../../core/admission/tenant-row.ts";
import {
  assertAdmission,
  assertChange,
  assertFree,
  assertPublishPlan,
  assertReport,
  assertRow,
  LawBrokenError,
} from "../../core/assert.ts";
import { type Change, uncertain, written } from "../../core/failover/changes.ts";
import type { Observed } from "../../core/failover/model.ts";
import type { Commit } from "../../core/publishing/commit.ts";
import { type PublishPlan, planPublish } from "../../core/publishing/plan.ts";
import { everyBucket } from "../../core/routes/buckets.ts";
import type { Route } from "../../schemas/snapshot.ts";
import { edge } from "../fixtures/edge.ts";
import { cell, fleet, record } from "../fixtures/fleet.ts";

/** The law that a call breaks; `none` when it breaks none. */
function lawBroken(call: () => void): number | "none" {
  try {
    call();
    return "none";
  } catch (error) {
    if (error instanceof LawBrokenError) return error.law;
    throw error;
  }
}

const admitted = (row: TenantRow | undefined, changes = {}) => {
  const facts = {
    tenantId: "acme",
    row,
    hash: JSON.stringify(changes),
    cell,
    rules: fleet,
    proven: new Set<string>(),
    namesHeld: false,
    bucketRoom: 1e6,
  };
  const fresh = { tls: { slot: 20_000, free: false }, ssh: { slot: 0, free: false } };
  return admit(
    { ...facts, record: { ok: true, record: record(changes) }, now: 1, batchId: "b1" },
    row === undefined ? fresh : {},
  ) as AdmissionPlan;
};
const first = admitted(undefined);
const second = admitted(first.row, { hostnames: ["new.tenants.example.com", "new.acme.com"] });

describe("assertRow", () => {
  it("accepts a row that admission wrote", () => {
    expect(lawBroken(() => assertRow(first.row))).toBe("none");
  });

  it.each<[string, number, Partial<TenantRow>]>([
    ["two protocols share a slot", 1, { slots: { tls: 20_000, ssh: 20_000 } }],
    ["a spare slot is in use", 1, { spare: [0] }],
    ["an admitted protocol has no slot", 1, { slots: { tls: 20_000 } }],
    ["a raw protocol has a tls slot", 1, { slots: { tls: 20_000, ssh: 20_001 } }],
    ["its admitted generation is newer than its own", 3, { generation: 0 }],
    ["it was never written", 7, { version: 0 }],
  ])("refuses a row if %s (law %i)", (_, law, changes) => {
    expect(lawBroken(() => assertRow({ ...first.row, ...changes }))).toBe(law);
  });
});

describe("assertAdmission", () => {
  it("accepts what admission decides for a new tenant and for a change", () => {
    expect(lawBroken(() => assertAdmission(first, undefined))).toBe("none");
    expect(lawBroken(() => assertAdmission(second, first.row))).toBe("none");
  });

  const route = second.routes!.find(({ protocol }) => protocol === "tls")!;
  it.each<[string, number, Partial<AdmissionPlan>]>([
    ["skips a version", 7, { row: { ...second.row, version: 9 } }],
    ["expects another version than it read", 7, { expectedVersion: 7 }],
    [
      "goes back a generation",
      3,
      { row: { ...second.row, generation: 0, admitted: { generation: 0, record: record() } } },
    ],
    ["claims a name that the row does not keep", 2, { claim: ["other.example.com"] }],
    ["releases a name that the row keeps", 2, { release: second.row.claims.slice(0, 1) }],
    ["leaves claims out of order", 9, { row: { ...second.row, claims: second.row.claims.toReversed() } }],
    ["takes a slot that is not the protocol's", 1, { takeSlots: [{ protocol: "ssh", slot: 5, free: false }] }],
    [
      "gives up a slot that it serves",
      1,
      { tombstoneSlots: [{ protocol: "ssh", slot: 0, reason: "protocol removed" }] },
    ],
    ["frees a slot that it has", 1, { freeSlots: [{ cell: second.row.cell, slot: 0 }] }],
    ["writes another tenant's route", 1, { routes: [{ ...route, tenantId: "globex" }] }],
    ["writes a route of an older generation", 4, { routes: [{ ...route, generation: 1 }] }],
    ["serves a name without a claim", 2, { routes: [{ ...route, hostnames: ["bank.example.com"] }] }],
    ["both writes and removes a route", 4, { dropRoutes: [route.slot] }],
  ])("refuses a plan that %s (law %i)", (_, law, changes) => {
    expect(lawBroken(() => assertAdmission({ ...second, ...changes }, first.row))).toBe(law);
  });
});

const hash = (digit: string) => digit.repeat(64);
const live: Commit = {
  generation: 7,
  incarnation: "one",
  routes: everyBucket.map(() => hash("0")),
  structure: { default: hash("5"), overrides: {} },
  sizes: everyBucket.map(() => 0),
  committedAt: 1,
};
const served: Route = {
  slot: 1,
  tenantId: "acme",
  protocol: "tls",
  generation: 1,
  hostnames: ["acme.com"],
  backends: { "us-west-2": ["10.0.0.1:3080"] },
};
const nothingRead = { routes: [], unread: [], hashes: [] };
const publish = (routes: Route[]): PublishPlan =>
  planPublish({
    live,
    buckets: [{ bucket: 3, changed: [], live: nothingRead, now: { routes, removed: [] } }],
    structure: live.structure,
    edges: [],
    incarnation: "unused",
    now: 2,
  });

describe("assertPublishPlan", () => {
  it("accepts a plan with a change, one without, and the first of a cell", () => {
    expect(lawBroken(() => assertPublishPlan(publish([served]), live))).toBe("none");
    expect(lawBroken(() => assertPublishPlan({ buckets: [], withheld: [], commit: live }, live))).toBe("none");
    const all = everyBucket.map((bucket) => ({
      bucket,
      changed: [],
      live: nothingRead,
      now: { routes: [], removed: [] },
    }));
    const facts = { live: undefined, buckets: all, structure: live.structure, edges: [], incarnation: "one", now: 2 };
    expect(lawBroken(() => assertPublishPlan(planPublish(facts), undefined))).toBe("none");
  });

  const plan = publish([served]);
  const withCommit = (changes: Partial<Commit>) => ({ ...plan, commit: { ...plan.commit, ...changes } });
  const withRoutes = (...routes: Route[]) => ({ ...plan, buckets: [{ ...plan.buckets[0]!, routes }] });
  it.each<[string, number, PublishPlan]>([
    ["goes back a generation", 3, withCommit({ generation: 6 })],
    ["skips a generation", 3, withCommit({ generation: 9 })],
    ["changes the incarnation", 3, withCommit({ incarnation: "two" })],
    ["loses a bucket", 4, withCommit({ routes: plan.commit.routes.slice(1) })],
    ["changes a bucket without an object", 4, withCommit({ routes: plan.commit.routes.with(9, hash("9")) })],
    [
      "does not put a bucket's first object",
      4,
      { ...plan, buckets: [{ ...plan.buckets[0]!, objects: plan.buckets[0]!.objects.slice(0, -1) }] },
    ],
    [
      "changes what was refused",
      4,
      {
        ...plan,
        withheld: [{ bucket: 3, tenants: [{ tenantId: served.tenantId, slots: [], reason: "no" }], reasons: ["no"] }],
      },
    ],
    ["has a slot twice", 1, withRoutes(served, { ...served, hostnames: [] })],
    ["routes a name to two tenants", 2, withRoutes(served, { ...served, slot: 2, tenantId: "globex" })],
  ])("refuses a plan that %s (law %i)", (_, law, broken) => {
    expect(lawBroken(() => assertPublishPlan(broken, live))).toBe(law);
  });
});

describe("assertChange", () => {
  const group = (region: string, ...endpoints: Observed["groups"][number]["endpoints"]) => ({
    region,
    arn: `arn:${region}`,
    dial: 100,
    endpoints,
  });
  const well = (edgeId: string, weight = 128) => ({ edgeId, weight, health: "HEALTHY" as const });
  const observed: Observed = { groups: [group("us-west-2", well("a"), well("b", 0)), group("eu-west-3")] };
  const change = (...endpoints: Change["endpoints"]): Change => ({
    kind: "update",
    onlyDial: false,
    region: "us-west-2",
    arn: "arn:us-west-2",
    dial: 100,
    endpoints,
  });
  const [a, b] = [
    { edgeId: "a", weight: 128 },
    { edgeId: "b", weight: 0 },
  ];

  it("accepts a full list that keeps a healthy endpoint, and the removal of a terminated edge", () => {
    expect(lawBroken(() => assertChange(change(a, b), observed, new Set()))).toBe("none");
    expect(lawBroken(() => assertChange(change(a), observed, new Set(["b"])))).toBe("none");
  });
  it("accepts a list that moves the weight to another healthy endpoint", () => {
    const moved = change({ ...a, weight: 0 }, { ...b, weight: 128 });
    expect(lawBroken(() => assertChange(moved, observed, new Set()))).toBe("none");
  });
  it("accepts that a group loses its users once another one takes them, and not before", () => {
    const both: Observed = { groups: [{ ...group("eu-west-3", well("c")), dial: 0 }, group("us-west-2", well("a"))] };
    const arn = "arn:eu-west-3";
    const raise: Change = {
      kind: "update",
      onlyDial: false,
      region: "eu-west-3",
      arn,
      dial: 100,
      endpoints: [{ edgeId: "c", weight: 128 }],
    };
    const lower = { ...change({ edgeId: "a", weight: 128 }), dial: 0 };
    expect(lawBroken(() => assertChange(lower, both, new Set()))).toBe(5);
    expect(lawBroken(() => assertChange(raise, both, new Set()))).toBe("none");
    expect(lawBroken(() => assertChange(lower, written(both, raise), new Set()))).toBe("none");
  });
  it("counts a failed write as made where it withdraws, and as not made where it adds", () => {
    const state: Observed = { groups: [group("a", well("a1")), group("b", well("b1", 0)), group("c", well("c1"))] };
    const to = (region: string, weight: number): Change => {
      return {
        kind: "update",
        onlyDial: false,
        region,
        arn: "",
        dial: 100,
        endpoints: [{ edgeId: `${region}1`, weight }],
      };
    };
    const afterRaise = uncertain(state, to("b", 128));
    const afterLower = uncertain(afterRaise, to("a", 0));
    expect(lawBroken(() => assertChange(to("c", 0), afterRaise, new Set()))).toBe("none");
    expect(lawBroken(() => assertChange(to("c", 0), afterLower, new Set()))).toBe(5);
    const newGroup: Change = { ...to("d", 128), kind: "create" };
    expect(uncertain(state, newGroup)).toEqual(state);
    expect(uncertain(state, { ...to("a", 128), dial: 0 }).groups[0]).toMatchObject({ dial: 0 });
    expect(uncertain(state, { ...to("a", 128), endpoints: [{ edgeId: "a2", weight: 128 }] }).groups[0]).toMatchObject({
      endpoints: [{ edgeId: "a1", weight: 0 }],
    });
  });
  it("accepts any list if no endpoint was healthy before", () => {
    const none = { groups: [group("us-west-2", { ...well("a"), health: "UNHEALTHY" as const })] };
    expect(lawBroken(() => assertChange(change({ edgeId: "a", weight: 0 }), none, new Set()))).toBe("none");
  });

  it.each<[string, number, Change, string[]]>([
    ["an empty list", 5, change(), ["a", "b"]],
    ["an endpoint twice", 5, change(a, b, b), []],
    ["a weight of 256", 5, change({ ...a, weight: 256 }, b), []],
    ["a weight that is not whole", 5, change({ ...a, weight: 0.5 }, b), []],
    ["a last healthy endpoint without weight", 5, change({ ...a, weight: 0 }, { ...b, weight: 0 }), []],
    ["a list without an edge that is not terminated", 6, change(a), []],
  ])("refuses %s (law %i)", (_, law, wrong, terminated) => {
    expect(lawBroken(() => assertChange(wrong, observed, new Set(terminated)))).toBe(law);
  });
});

describe("assertReport", () => {
  it("accepts a report of the edge itself", () => {
    expect(lawBroken(() => assertReport(edge("a"), edge("a", { appliedGeneration: 6 }), "a", "c1"))).toBe("none");
    expect(lawBroken(() => assertReport(edge("a"), undefined, "a", "c1"))).toBe("none");
  });
  it("refuses a report that changes another edge or an edge of another cell (law 11)", () => {
    expect(lawBroken(() => assertReport(edge("b"), undefined, "a", "c1"))).toBe(11);
    expect(lawBroken(() => assertReport(edge("a", { cell: "c2" }), undefined, "a", "c1"))).toBe(11);
  });
  it("refuses a report that lowers the generation of an edge (law 3)", () => {
    expect(lawBroken(() => assertReport(edge("a"), edge("a", { appliedGeneration: 8 }), "a", "c1"))).toBe(3);
  });
});

describe("assertFree", () => {
  it("accepts a tombstone that every edge and manifest has passed", () => {
    expect(lawBroken(() => assertFree("slot 3", 7, 7))).toBe("none");
  });
  it("refuses a tombstone that is still served or was never seen absent (law 1)", () => {
    expect(lawBroken(() => assertFree("slot 3", 7, 6))).toBe(1);
    expect(lawBroken(() => assertFree("slot 3", undefined, 9))).toBe(1);
  });
});
