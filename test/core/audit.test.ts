import { describe, expect, it } from "vitest";
import { bounded, persistentDifferences } from "../../core/audit/drift.ts";
import { objectsToDelete } from "../../core/audit/objects.ts";
import { admissible, type LedgerTenant, tenantDifferences } from "../../core/audit/tenants.ts";
import { isConclusive, mayFree } from "../../core/audit/tombstones.ts";
import { auditLimits } from "../../schemas/limits.ts";
import { edge, now } from "../fixtures/edge.ts";
import { cell } from "../fixtures/fleet.ts";

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

  it("keeps a slot until a commit without it is seen", () => {
    const { absentFrom: _, ...fresh } = tombstone;
    expect(mayFree(fresh, facts)).toBe(false);
    expect(isConclusive(fresh, 7, true)).toBe(true);
    expect(isConclusive({ ...fresh, seenAt: 6 }, 7, false)).toBe(false);
    expect(isConclusive({ ...fresh, seenAt: 6 }, 8, false)).toBe(true);
  });
});

describe("persistentDifferences", () => {
  const before = {
    differences: [
      ["a", "x"],
      ["b", "x"],
    ] as [string, string][],
    at: now,
  };
  it("returns differences that are still the same some time later", () => {
    const found = new Map([
      ["a", "x"],
      ["b", "y"],
      ["c", "x"],
    ]);
    expect(persistentDifferences(found, before, now + auditLimits.apartMs)).toEqual(["a"]);
    expect(persistentDifferences(found, before, now + auditLimits.apartMs - 1)).toEqual([]);
    expect(persistentDifferences(found, undefined, now)).toEqual([]);
    expect(persistentDifferences(new Map([["toString", "x"]]), before, now + auditLimits.apartMs)).toEqual([]);
  });

  it("keeps only as much as fits in one ledger item", () => {
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

  it("finds no difference in a tenant that matches its record", () => {
    expect(found({})).toBeUndefined();
  });
  it("finds records whose creation, change or deletion was not processed", () => {
    expect(tenantDifferences(new Map([["new", "h"]]), new Map(), new Map()).has("new")).toBe(true);
    expect(found({}, "h2")).toMatch(/^record h2 3$/);
    expect(tenantDifferences(new Map(), new Map([["acme", tenant({})]]), new Map()).size).toBe(1);
  });
  it("finds changes that did not settle or are not served everywhere", () => {
    expect(found({ observed: 1 })).toMatch(/settled/);
    expect(found({ served: "partly" })).toMatch(/everywhere/);
    expect(found({ served: "partly", blocked: ["x.com"] }, "h1", new Map([["x.com", "other"]]))).toMatch(/everywhere/);
  });
  it("finds tenants whose blocked names have become free", () => {
    const blocked = { state: "Rejected" as const, retry: true, blocked: ["x.com"] };
    expect(found(blocked, "h1", new Map([["x.com", "other"]]))).toBeUndefined();
    expect(found(blocked)).toMatch(/free/);
  });
});

describe("objectsToDelete", () => {
  const old = { hash: "old", putAt: now - auditLimits.objectKeepMs - 1 };
  const notes = [{ at: now - auditLimits.objectKeepMs - 1, hashes: ["old"] }];
  it("returns objects that nothing has named for seven days", () => {
    expect(objectsToDelete([old], [], notes, now)).toEqual(["old"]);
  });
  it.each([
    ["is named now", [old], ["old"], notes],
    ["was named in the last seven days", [old], [], [...notes, { at: now - 5, hashes: ["old"] }]],
    ["was put in the last seven days", [{ hash: "old", putAt: now - 5 }], [], notes],
    ["may have been named before the notes begin", [old], [], [{ at: now - 5, hashes: [] }]],
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
