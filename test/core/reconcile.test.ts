import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { placeTenants, shareOut } from "../../core/admission/place.ts";
import type { TenantRow } from "../../core/admission/tenant-row.ts";
import { validateRecord } from "../../core/admission/validate.ts";
import { planRebuild } from "../../core/publishing/rebuild.ts";
import {
  advanceStructure,
  type StructureFacts,
  type StructureState,
  structureOf,
} from "../../core/publishing/structure.ts";
import { apartMs, bounded, seenTwice } from "../../core/reconcile/drift.ts";
import { keepObjectsMs, objectsToDelete } from "../../core/reconcile/objects.ts";
import { type LedgerTenant, tenantDifferences } from "../../core/reconcile/tenants.ts";
import { isConclusive, mayFree } from "../../core/reconcile/tombstones.ts";
import type { EdgeRow } from "../../core/rollout/acks.ts";
import { chunksOf } from "../../core/rollout/chunks.ts";
import { conditionsOf } from "../../core/rollout/conditions.ts";
import { traceOf } from "../../core/rollout/trace.ts";
import { structureRefused } from "../../schemas/events.ts";
import { cell, fleet, record } from "../fixtures/fleet.ts";

const now = 10_000_000;
const edge = (edgeId: string, changes: Partial<EdgeRow> = {}): EdgeRow => ({
  edgeId,
  cell: "c1",
  region: "us-west-2",
  address: "10.0.0.9",
  appliedGeneration: 7,
  serving: true,
  reportedAt: now,
  edgeAt: now,
  rejectedRoutes: [],
  structure: "old",
  ...changes,
});

describe("mayFree", () => {
  const tombstone = { cell: "c1", tenantId: "acme", at: 0, absentFrom: 7 };
  const facts = { edges: [edge("a")], publishedFrom: 7, coolOffMs: 60_000, now };

  it("frees what every edge acked, every region published, and the cool-off is past", () => {
    expect(mayFree(tombstone, facts)).toBe(true);
  });

  it.each([
    [
      "an edge that was silent for long serves an older generation",
      { edges: [edge("a"), edge("b", { appliedGeneration: 6, reportedAt: 0 })] },
    ],
    ["a region's manifest is older", { publishedFrom: 6 }],
    ["the cool-off is not past", { coolOffMs: now + 1 }],
    [
      "an edge refuses the tenant's route and keeps the last good one",
      { edges: [edge("a", { rejectedRoutes: [{ tenantId: "acme", slot: 1, reason: "no" }] })] },
    ],
    [
      "an edge's list of refusals is full",
      {
        edges: [
          edge("a", {
            rejectedRoutes: Array.from({ length: 100 }, (_, slot) => ({ tenantId: "x", slot, reason: "no" })),
          }),
        ],
      },
    ],
  ])("keeps it while %s", (_, changes) => {
    expect(mayFree(tombstone, { ...facts, ...changes })).toBe(false);
  });

  it("keeps what no commit was seen without", () => {
    const { absentFrom: _, ...fresh } = tombstone;
    expect(mayFree(fresh, facts)).toBe(false);
    expect(isConclusive(fresh, 7, true)).toBe(true);
    expect(isConclusive({ ...fresh, seenAt: 6 }, 7, false)).toBe(false);
    expect(isConclusive({ ...fresh, seenAt: 6 }, 8, false)).toBe(true);
  });
});

describe("seenTwice", () => {
  const before = {
    differences: [
      ["a", "x"],
      ["b", "x"],
    ] as [string, string][],
    at: now,
  };
  it("gives what differs in the same way as before, some time later", () => {
    const found = new Map([
      ["a", "x"],
      ["b", "y"],
      ["c", "x"],
    ]);
    expect(seenTwice(found, before, now + apartMs)).toEqual(["a"]);
    expect(seenTwice(found, before, now + apartMs - 1)).toEqual([]);
    expect(seenTwice(found, undefined, now)).toEqual([]);
    expect(seenTwice(new Map([["toString", "x"]]), before, now + apartMs)).toEqual([]);
  });

  it("keeps no more than an item of the ledger takes", () => {
    const many = new Map(Array.from({ length: 9000 }, (_, i) => [`${"t".repeat(60)}${i}`, "record 0123456789ab 1"]));
    expect(Buffer.byteLength(JSON.stringify(bounded(many)))).toBeLessThan(300_000);
  });
});

describe("tenantDifferences", () => {
  const tenant = (changes: Partial<LedgerTenant>): LedgerTenant => ({
    tenantId: "acme",
    version: 3,
    hash: "h1",
    state: "Admitted",
    retry: false,
    blocked: [],
    admitted: 2,
    observed: 2,
    served: "all",
    ...changes,
  });
  const found = (changes: Partial<LedgerTenant>, hash: string | undefined = "h1", owners = new Map<string, string>()) =>
    tenantDifferences(
      hash === undefined ? new Map() : new Map([["acme", hash]]),
      new Map([["acme", tenant(changes)]]),
      owners,
    ).get("acme");

  it("finds none in a tenant that is as its record says", () => {
    expect(found({})).toBeUndefined();
  });
  it("finds records that were never looked at, changed or vanished unseen", () => {
    expect(tenantDifferences(new Map([["new", "h"]]), new Map(), new Map()).has("new")).toBe(true);
    expect(found({}, "h2")).toMatch(/^record h2 3$/);
    expect(tenantDifferences(new Map(), new Map([["acme", tenant({})]]), new Map()).size).toBe(1);
  });
  it("finds changes that did not settle, and those not served everywhere", () => {
    expect(found({ observed: 1 })).toMatch(/settled/);
    expect(found({ served: "partly" })).toMatch(/everywhere/);
    expect(found({ served: "partly", blocked: ["x.com"] }, "h1", new Map([["x.com", "other"]]))).toMatch(/everywhere/);
  });
  it("finds who waits for names once they are nobody's", () => {
    const blocked = { state: "Rejected" as const, retry: true, blocked: ["x.com"] };
    expect(found(blocked, "h1", new Map([["x.com", "other"]]))).toBeUndefined();
    expect(found(blocked)).toMatch(/free/);
  });
});

describe("objectsToDelete", () => {
  const old = { hash: "old", putAt: now - keepObjectsMs - 1 };
  const notes = [{ at: now - keepObjectsMs - 1, hashes: ["old"] }];
  it("gives what nothing has named for seven days", () => {
    expect(objectsToDelete([old], [], notes, now)).toEqual(["old"]);
  });
  it.each([
    ["is named now", [old], ["old"], notes],
    ["was named in the last seven days", [old], [], [...notes, { at: now - 5, hashes: ["old"] }]],
    ["was put in the last seven days", [{ hash: "old", putAt: now - 5 }], [], notes],
    ["may have been named before the notes begin", [old], [], [{ at: now - 5, hashes: [] }]],
  ])("keeps what %s", (_, objects, named, noted) => {
    expect(objectsToDelete(objects, named, noted, now)).toEqual([]);
  });
});

describe("shareOut", () => {
  const slot = (number: number) => ({ slot: number, free: false });
  it("gives a tenant all that it wants or nothing, and the next what is left", () => {
    const wants = [
      { tenantId: "big", cell: "c1", protocols: ["postgres", "ssh"] },
      { tenantId: "small", cell: "c1", protocols: ["ssh"] },
    ];
    const { given, left } = shareOut(wants, [{ cell: "c1", kind: "raw", slots: [slot(4)] }]);
    expect([...given]).toEqual([["small", { ssh: slot(4) }]]);
    expect(left).toEqual([]);
  });

  it("never gives a slot twice, nor one of another cell or kind", () => {
    const want = fc.record({
      tenantId: fc.uuid(),
      cell: fc.constantFrom("c1", "c2"),
      protocols: fc.subarray(["tls", "ssh", "mysql"]),
    });
    fc.assert(
      fc.property(
        fc.uniqueArray(want, { selector: ({ tenantId }) => tenantId }),
        fc.integer({ min: 0, max: 5 }),
        (wants, size) => {
          const pools = ["c1", "c2"].flatMap((name, at) =>
            (["raw", "tls"] as const).map((kind, nth) => ({
              cell: name,
              kind,
              slots: Array.from({ length: size }, (_, i) => slot(at * 100 + nth * 10 + i)),
            })),
          );
          const { given, left } = shareOut(wants, pools);
          const used = [...given.values()].flatMap((slots) => Object.values(slots).map(({ slot: number }) => number));
          const rest = left.flatMap(({ slots }) => slots.map(({ slot: number }) => number));
          expect([...used, ...rest].sort()).toEqual(
            pools.flatMap(({ slots }) => slots.map(({ slot: number }) => number)).sort(),
          );
          for (const { tenantId, cell: name, protocols } of wants) {
            const got = given.get(tenantId);
            if (got === undefined) continue;
            expect(Object.keys(got).sort()).toEqual(protocols.toSorted());
            for (const [protocol, { slot: number }] of Object.entries(got)) {
              expect(Math.floor(number / 100)).toBe(name === "c1" ? 0 : 1);
              expect(Math.floor((number % 100) / 10)).toBe(protocol === "tls" ? 1 : 0);
            }
          }
        },
      ),
    );
  });
});

describe("placeTenants", () => {
  const second = { ...cell, name: "c2" };
  const rooms = [
    { cell, room: { raw: 1, tls: 10 } },
    { cell: second, room: { raw: 3, tls: 10 } },
  ];
  const tenant = (tenantId: string, row?: TenantRow) => ({
    tenantId,
    row,
    record: validateRecord(record({ tenantId, hostnames: [`${tenantId}.example.org`] }), fleet),
  });

  it("gives a new tenant the cell with most room, and counts what it gave", () => {
    const placed = placeTenants(
      ["a", "b", "c", "d"].map((id) => tenant(id)),
      rooms,
    );
    expect([...placed.values()].map(({ name }) => name)).toEqual(["c2", "c2", "c1", "c2"]);
  });
  it("leaves a tenant that has slots where it is", () => {
    const row = { cell: "c1", slots: { ssh: 1 } } as unknown as TenantRow;
    expect(placeTenants([tenant("a", row)], rooms).get("a")?.name).toBe("c1");
  });
});

describe("advanceStructure", () => {
  const edges = [edge("a"), edge("b"), edge("c", { region: "eu-west-3" })];
  const facts: StructureFacts = {
    wanted: "new",
    live: { default: "old", overrides: {} },
    state: undefined,
    edges,
    degraded: [],
    bakeMs: 10_000,
    now,
  };
  const having = (structure: string, ...ids: string[]) =>
    edges.map((one) => (ids.includes(one.edgeId) ? { ...one, structure } : one));
  /** The facts once a state is published and its edges have what it gives them, `later` ms after. */
  const after = (state: StructureState, later: number): StructureFacts => {
    const live = structureOf(state);
    const given = edges.map((one) => ({
      ...one,
      structure: live.overrides[one.edgeId] ?? live.default,
      reportedAt: now + later,
    }));
    return { ...facts, state, live, edges: given, now: now + later };
  };

  it("goes from one edge to its region to all, and watches each stage from when it is published", () => {
    let state = advanceStructure(facts)!;
    const stages = [state];
    for (let at = 0; state.stage !== "done"; at += 5000) {
      expect(
        advanceStructure({ ...facts, state, now: now + at }) === undefined || state.stage !== stages.at(-1)!.stage,
      ).toBe(true);
      const next = advanceStructure(after(state, at));
      if (next !== undefined && next.stage !== state.stage) stages.push(next);
      state = next ?? state;
      expect(at).toBeLessThan(100_000);
    }
    expect(stages.map(({ stage, edges: ids }) => [stage, ids])).toEqual([
      ["canary", ["a"]],
      ["region", ["a", "b"]],
      ["all", []],
      ["done", []],
    ]);
  });

  const canary = { ...advanceStructure(facts)!, publishedAt: now - 20_000 };
  const live = structureOf(canary);
  it.each([
    [
      "refuses it",
      having("old").map((one) =>
        one.edgeId === "a" ? { ...one, nack: { generation: 8, reason: `${structureRefused}bad directive` } } : one,
      ),
      [],
      /refuses.*bad directive/,
    ],
    ["does not serve with it", having("new", "a").map((one) => ({ ...one, serving: false })), [], /does not serve/],
    ["is degraded with it", having("new", "a"), ["a"], /degraded/],
  ])("returns when an edge %s, and does not try the same again", (_, given, degraded, reason) => {
    const back = advanceStructure({ ...facts, state: canary, live, edges: given, degraded })!;
    expect(back).toMatchObject({ stage: "returned", reason: expect.stringMatching(reason) });
    expect(structureOf(back)).toEqual({ default: "old", overrides: {} });
    expect(advanceStructure({ ...facts, state: back })).toBeUndefined();
    expect(advanceStructure({ ...facts, state: back, wanted: "newer" })).toMatchObject({
      stage: "canary",
      target: "newer",
      from: "old",
    });
  });

  it("is not moved by an S3 that does not answer, nor by an edge that was degraded before", () => {
    const trouble = having("new", "a").map((one) => ({ ...one, nack: { generation: 0, reason: "S3 answered 503" } }));
    expect(advanceStructure({ ...facts, state: canary, live, edges: trouble })).toMatchObject({ stage: "region" });
    const unwell = { ...canary, unwell: ["a"] };
    expect(
      advanceStructure({ ...facts, state: unwell, live, edges: having("new", "a"), degraded: ["a"] }),
    ).toMatchObject({ stage: "region" });
  });
});

describe("planRebuild", () => {
  const route = (tenantId: string, slot: number, generation = 3) => ({
    slot,
    tenantId,
    protocol: "ssh",
    generation,
    hostnames: [],
    port: 10000 + slot,
    backends: { "us-west-2": ["10.0.0.1:22"] },
  });
  const row = (tenantId: string, slots: Record<string, number>): TenantRow => ({
    tenantId,
    version: 5,
    generation: 1,
    hash: "h",
    state: "Admitted",
    reasons: [],
    cell: "c1",
    slots,
    claims: [`${tenantId}.example.org`],
    admitted: { generation: 1, record: record({ tenantId, protocols: { ssh: 22 } }) },
    at: 0,
  });
  const plan = planRebuild({
    cell,
    routes: [route("acme", 4, 9)],
    rows: [row("acme", { ssh: 2 }), row("gone", { ssh: 4 })],
    taken: { raw: 3, tls: 0 },
    platformDomains: fleet.platformDomains,
    now,
  });

  it("gives what edges serve to whom they serve it for, and lets no number below the counter be nobody's", () => {
    expect(plan.slots).toEqual([{ slot: 4, tenantId: "acme", protocol: "ssh", givenUp: false }]);
    expect(plan.taken).toEqual({ raw: 5, tls: 0 });
    expect(plan.unknown).toEqual([0, 1, 2, 3]);
  });
  it("never lets a generation go back, and has every record looked at again", () => {
    expect(plan.rows.map(({ tenantId, generation, hash, slots }) => [tenantId, generation, hash, slots])).toEqual([
      ["acme", 9, "rebuilt", { ssh: 4 }],
      ["gone", 1, "rebuilt", {}],
    ]);
    expect(plan.rows.map(({ admitted }) => admitted?.generation)).toEqual([9, undefined]);
  });
});

describe("conditionsOf", () => {
  const row = {
    state: "Admitted",
    reasons: [],
    generation: 2,
    at: 5,
    admitted: { generation: 2 },
  } as unknown as TenantRow;
  const status = {
    observedGeneration: 2,
    snapshotGeneration: 9,
    served: "all",
    missing: [],
    committedAt: 6,
    settledAt: 7,
  };
  const words = (facts: Parameters<typeof conditionsOf>[0]) =>
    conditionsOf(facts).map(({ status: is, reason }) => `${is} ${reason}`);

  it("says how far a tenant is", () => {
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

describe("traceOf", () => {
  it("puts the steps in the order of their times, with what each took", () => {
    const steps = traceOf({
      sequence: "42",
      startedAt: 100,
      admittedAt: 130,
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
  it("keeps every tenant once, in batches that one item takes", () => {
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
