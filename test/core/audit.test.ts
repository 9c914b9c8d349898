import { describe, expect, it } from "vitest";
import { bounded, seenTwice } from "../../core/audit/drift.ts";
import { objectsToDelete } from "../../core/audit/objects.ts";
import { admissible, type LedgerTenant, tenantDifferences } from "../../core/audit/tenants.ts";
import { isConclusive, mayFree } from "../../core/audit/tombstones.ts";
import { auditLimits } from "../../schemas/limits.ts";
import { edge, now } from "../fixtures/edge.ts";
import { cell } from "../fixtures/fleet.ts";

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
    expect(seenTwice(found, before, now + auditLimits.apartMs)).toEqual(["a"]);
    expect(seenTwice(found, before, now + auditLimits.apartMs - 1)).toEqual([]);
    expect(seenTwice(found, undefined, now)).toEqual([]);
    expect(seenTwice(new Map([["toString", "x"]]), before, now + auditLimits.apartMs)).toEqual([]);
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
  const old = { hash: "old", putAt: now - auditLimits.objectKeepMs - 1 };
  const notes = [{ at: now - auditLimits.objectKeepMs - 1, hashes: ["old"] }];
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
  it("gives who would fit as a whole: in any cell, or in its own once it has slots there", () => {
    const waiting = [
      pending("two-raw", ["ssh", "mysql"]),
      pending("both", ["ssh", "tls"]),
      pending("too-much", ["ssh", "mysql", "tls"]),
      pending("settled", ["ssh", "mysql", "tls"], { tls: 20_000 }),
      pending("settled-one", ["ssh", "tls"], { tls: 20_000 }),
    ];
    expect(admissible(waiting, rooms)).toEqual(["both", "settled-one", "two-raw"]);
  });
});
