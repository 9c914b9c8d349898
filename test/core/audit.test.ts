import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { TenantRow } from "../../core/admission/tenant-row.ts";
import type { Validated } from "../../core/admission/validate.ts";
import { weigh } from "../../core/audit/findings.ts";
import { objectsToDelete } from "../../core/audit/objects.ts";
import { pack, unpack } from "../../core/audit/slot-account.ts";
import { type AuditedTenant, admissible, differenceOf, isForgettable, isOfLostRow } from "../../core/audit/tenants.ts";
import { isConclusive, mayFree } from "../../core/audit/tombstones.ts";
import { claimsOf } from "../../core/names/claims.ts";
import type { Point } from "../../core/names/points.ts";
import { auditLimits } from "../../schemas/limits.ts";
import type { TenantRecord } from "../../schemas/tenant.ts";
import { edge, now } from "../fixtures/edge.ts";
import { cell, fleet } from "../fixtures/fleet.ts";

describe("mayFree", () => {
  const tombstone = { cell: "c1", tenantId: "acme", at: 0, absentFrom: 7 };
  const facts = { edges: [edge("a")], publishedFrom: 7, coolOffMs: 60_000, now };

  it("frees a slot that every edge acked and every region published, once the cool-off is over", () => {
    expect(mayFree(tombstone, facts)).toBe(true);
  });

  it.each([
    [
      "an edge that has not reported for long serves an older generation",
      { edges: [edge("a"), edge("b", { appliedGeneration: 6, reportedAt: 0 })] },
    ],
    ["a region's manifest is older", { publishedFrom: 6 }],
    ["the cool-off is not over", { coolOffMs: now + 1 }],
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
  ])("keeps the slot while %s", (_, changes) => {
    expect(mayFree(tombstone, { ...facts, ...changes })).toBe(false);
  });

  it("waits for edges, but for no cool-off, when an operator has released the name", () => {
    const released = { ...tombstone, isWaived: true };
    const hot = { ...facts, coolOffMs: now + 1 };
    expect(mayFree(released, hot)).toBe(true);
    expect(mayFree(released, { ...hot, edges: [edge("a"), edge("b", { appliedGeneration: 6 })] })).toBe(false);
    expect(mayFree(released, { ...hot, publishedFrom: 6 })).toBe(false);
  });

  it("keeps a slot until a commit without it is seen", () => {
    const { absentFrom: _, ...fresh } = tombstone;
    expect(mayFree(fresh, facts)).toBe(false);
    expect(isConclusive(fresh, 7, true)).toBe(true);
    expect(isConclusive({ ...fresh, seenAt: 6 }, 7, false)).toBe(false);
    expect(isConclusive({ ...fresh, seenAt: 6 }, 8, false)).toBe(true);
  });
});

describe("weigh", () => {
  const settleMs = auditLimits.apartMs;
  const seen = (...found: [string, string | undefined][]) => new Map(found);
  const first = weigh([], seen(["a", "x"], ["b", "x"]), now, settleMs);

  it("repairs a difference that is still the same some time later, and none before", () => {
    expect(first.due).toEqual([]);
    const later = seen(["a", "x"], ["b", "y"], ["c", "x"]);
    expect(weigh(first.kept, later, now + settleMs - 1, settleMs).due).toEqual([]);
    expect(weigh(first.kept, later, now + settleMs, settleMs).due).toEqual(["a"]);
  });

  it("forgets a difference that is gone, and keeps one that was not looked at", () => {
    expect(weigh(first.kept, seen(["a", undefined]), now, settleMs).kept.map(({ key }) => key)).toEqual(["b"]);
  });

  it("comes back to a difference that stays, after twice the time each time, up to a day", () => {
    let { kept } = weigh([], seen(["a", "x"]), 0, settleMs);
    const repairs: number[] = [];
    for (let at = 0; at < 5 * auditLimits.backoffMaxMs; at += 60_000) {
      const next = weigh(kept, seen(["a", "x"]), at, settleMs);
      if (next.due.length > 0) repairs.push(at);
      kept = next.kept;
    }
    const gaps = repairs.slice(1).map((at, index) => at - repairs[index]!);
    expect(gaps.slice(0, 4)).toEqual([1, 2, 4, 8].map((times) => times * auditLimits.backoffMs));
    expect(Math.max(...gaps)).toBe(auditLimits.backoffMaxMs);
  });

  it("keeps as much as one ledger item holds, and new differences before those that can't be repaired", () => {
    const many = Array.from({ length: 9000 }, (_, i): [string, string] => [
      `${"t".repeat(60)}${i}`,
      "record 0123456789ab 1",
    ]);
    const stuck = weigh([], seen(...many), now, settleMs).kept;
    expect(Buffer.byteLength(JSON.stringify(stuck))).toBeLessThan(350_000);
    const tried = weigh(stuck, seen(...many), now + settleMs, settleMs).kept;
    expect(weigh(tried, seen(["new", "x"]), now + settleMs, settleMs).kept.map(({ key }) => key)).toContain("new");
  });
});

describe("an audited tenant", () => {
  const record: TenantRecord = {
    tenantId: "acme",
    hostnames: ["acme.example.org"],
    homeRegion: "us-west-2",
    multiRegion: false,
    suspended: false,
    protocols: { tls: 3080 },
    backends: { "us-west-2": ["10.0.0.1"] },
  };
  const claims = claimsOf(record, fleet);
  const row = (changes: Partial<TenantRow> = {}): TenantRow => ({
    tenantId: "acme",
    version: 3,
    generation: 2,
    hash: "h1",
    state: "Admitted",
    reasons: [],
    cell: "c1",
    slots: { tls: 20_000 },
    claims,
    admitted: { generation: 2, record },
    at: now,
    ...changes,
  });
  const settled = { generation: 2, served: "all" };
  const found = (changes: Partial<TenantRow>, rest: Partial<AuditedTenant> = {}, points: Point[] = []) =>
    differenceOf(
      { row: row(changes), hash: "h1", record: { ok: true, record }, status: settled, ...rest },
      { rules: fleet, points: new Map(points.map((point) => [point.point, point])) },
    );

  it("that matches its record has no difference", () => {
    expect(found({})).toBeUndefined();
  });
  it("differs when a change or a deletion of its record was not processed", () => {
    expect(found({}, { hash: "h2" })).toBe("record h2 3");
    expect(found({}, { hash: "absent", record: undefined })).toBe("record absent 3");
  });
  it("differs when its change did not settle or is not served everywhere", () => {
    expect(found({}, { status: { ...settled, generation: 1 } })).toMatch(/settled/);
    expect(found({}, { status: undefined })).toMatch(/settled/);
    expect(found({}, { status: { ...settled, served: "partly" } })).toMatch(/everywhere/);
  });
  it("differs when its status is of a row that a restored ledger has lost", () => {
    expect(found({}, { status: { ...settled, generation: 3 } })).toBe("status of generation 3 3");
    const rejected = { state: "Rejected" as const, generation: 3 };
    expect(found(rejected, { status: { ...settled, generation: 3 } })).toMatch(/status of generation 3/);
    const again = { state: "Pending" as const, generation: 4, slots: {}, retry: true as const };
    const { admitted: _, ...pending } = row(again); // it was removed at generation 3, and waits now
    expect(isOfLostRow({ row: pending, status: { ...settled, generation: 3 } })).toBe(false);
  });
  it("differs when its blocked names have become free", () => {
    const blocked = { state: "Rejected" as const, retry: true as const, blocked: ["x.com"] };
    const hold = { tenantId: "other", owner: "account:others", cell: "c1", since: 1 };
    const point = { point: "x.com", stamp: "1", below: new Map([["other", hold]]) };
    expect(found(blocked, {}, [point])).toBeUndefined();
    const ours: AuditedTenant["record"] = { ok: true, record: { ...record, account: "others" } };
    expect(found(blocked, { record: ours }, [point])).toMatch(/free/);
    expect(found(blocked)).toMatch(/free/);
  });
  it("differs when the fleet says otherwise of its record than before", () => {
    const refused: Validated = { ok: false, reasons: ["backends: outside the ranges"] };
    expect(found({}, { record: refused })).toMatch(/the fleet changed/);
    expect(found({ state: "Pending", retry: true }, { record: refused })).toMatch(/the fleet changed/);
    const invalid = { state: "Rejected" as const, invalid: true as const };
    expect(found(invalid, { record: refused })).toBeUndefined();
    expect(found(invalid)).toMatch(/the fleet changed/);
    expect(found({ claims: claims.slice(1) })).toMatch(/the fleet changed/);
  });

  it("is forgotten a day after its removal settled, when it has no slot any more", () => {
    const removed = row({
      state: "Removed",
      hash: "absent",
      slots: {},
      claims: [],
      at: now - auditLimits.removedKeepMs,
    });
    const gone = (changes: Partial<AuditedTenant> = {}) =>
      isForgettable({ row: removed, hash: "absent", record: undefined, status: settled, ...changes }, now);
    expect(gone()).toBe(true);
    expect(gone({ row: { ...removed, at: now } })).toBe(false);
    expect(gone({ row: { ...removed, slots: { tls: 1 } } })).toBe(false);
    expect(gone({ row: { ...removed, spare: [7] } })).toBe(false);
    expect(gone({ row: { ...removed, state: "Rejected" } })).toBe(false);
    expect(gone({ hash: "h1" })).toBe(false);
    expect(gone({ status: { generation: 2, served: "partly" } })).toBe(false);
    expect(gone({ status: { generation: 1, served: "all" } })).toBe(false);
  });
});

describe("the slot account", () => {
  it("is the same after it was packed", () => {
    const slots = fc
      .uniqueArray(fc.integer({ min: 0, max: 120_000 }), { maxLength: 50 })
      .map((found) => new Set(found));
    fc.assert(
      fc.property(slots, slots, slots, (known, owned, free) => {
        const account = { taken: { raw: 3, tls: 4 }, known, owned, free };
        expect(unpack(pack(account))).toEqual(account);
      }),
      { numRuns: 20 },
    );
  });
});

describe("objectsToDelete", () => {
  const keep = auditLimits.objectKeepMs;
  const old = { hash: "old", putAt: now - keep - 10 };
  const notes = [{ at: now - keep - 5, hashes: [] }];
  it("returns objects that nothing has named for seven days", () => {
    expect(objectsToDelete([old], [], notes, now)).toEqual(["old"]);
    const named = [{ at: now - keep - 8, hashes: ["old"] }, ...notes];
    expect(objectsToDelete([old], [], named, now)).toEqual(["old"]);
  });
  it.each([
    ["is named now", [old], ["old"], notes],
    ["was named in the last seven days", [old], [], [...notes, { at: now - 5, hashes: ["old"] }]],
    ["was put in the last seven days", [{ hash: "old", putAt: now - 5 }], [], notes],
    ["may have been named before the notes begin", [old], [], [{ at: now - 5, hashes: [] }]],
    ["was named by the last note before a gap", [old], [], [{ at: now - keep - 5, hashes: ["old"] }]],
    ["was put in a gap of the notes", [{ hash: "old", putAt: now - keep - 3 }], [], notes],
  ])("keeps an object that %s", (_, objects, named, noted) => {
    expect(objectsToDelete(objects, named, noted, now)).toEqual([]);
  });
});

describe("admissible", () => {
  const rooms = [
    { cell, room: { raw: 1, tls: 9 } },
    { cell: { ...cell, name: "c2" }, room: { raw: 2, tls: 0 } },
  ];
  const pending = (tenantId: string, protocols: string[], slots: Record<string, number> = {}) => ({
    tenantId,
    cell: "c1",
    protocols,
    slots,
  });
  it("returns tenants that fit completely: in any cell, or in their own cell if they have slots there", () => {
    const waiting = [
      pending("two-raw", ["ssh", "mysql"]),
      pending("both", ["ssh", "tls"]),
      pending("too-much", ["ssh", "mysql", "tls"]),
      pending("settled", ["ssh", "mysql", "tls"], { tls: 20_000 }),
      pending("settled-one", ["ssh", "tls"], { tls: 20_000 }),
    ];
    expect(admissible(waiting, rooms)).toEqual(["both", "settled-one", "two-raw"]);
  });

  it("counts spare slots of a tenant as room, in the cell where they are", () => {
    const waiting = [
      { ...pending("spare-here", ["ssh", "mysql", "tls"]), spare: [3] },
      { ...pending("spare-elsewhere", ["ssh", "mysql", "tls"]), cell: "c3", spare: [3] },
      { ...pending("spare-of-the-other-kind", ["ssh", "mysql", "tls"]), spare: [20_003] },
    ];
    expect(admissible(waiting, rooms)).toEqual(["spare-here"]);
  });
});
