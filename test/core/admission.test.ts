import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type AdmissionFacts,
  type AdmissionPlan,
  admit,
  isSameRefusal,
  mustWait,
  refuse,
  slotsWanted,
  withoutSlots,
  writesOf,
} from "../../core/admission/admit.ts";
import { absent, type TenantRow } from "../../core/admission/tenant-row.ts";
import { validateRecord } from "../../core/admission/validate.ts";
import { canonicalJson } from "../../core/canonical.ts";
import { bucketOf } from "../../core/routes/buckets.ts";
import { routesOf } from "../../core/routes/routes.ts";
import { kindOf } from "../../core/slots/numbering.ts";
import { slotLimits, tenantLimits } from "../../schemas/limits.ts";
import type { TenantRecord } from "../../schemas/tenant.ts";
import { cell, fleet, record } from "../fixtures/fleet.ts";

const facts = (row: TenantRow | undefined, value: TenantRecord | undefined): AdmissionFacts => ({
  tenantId: "acme",
  row,
  hash: value === undefined ? absent : canonicalJson(value),
  record: value === undefined ? undefined : validateRecord(value, fleet),
  cell,
  rules: fleet,
  proven: new Set(),
  namesHeld: false,
  bucketRoom: 1_000_000,
  now: 1000,
  batchId: "b1",
});

/** Admits a record, with fresh slots numbered from `from`. */
function step(row: TenantRow | undefined, value: TenantRecord | undefined, from = 0) {
  const given = facts(row, value);
  const fresh = Object.fromEntries(
    slotsWanted(given).map((protocol, index) => [
      protocol,
      { slot: (kindOf(protocol) === "tls" ? slotLimits.tlsSlotBase : 0) + from + index, free: false },
    ]),
  );
  return admit(given, fresh);
}
const written = (plan: ReturnType<typeof step>): AdmissionPlan => {
  if (plan.kind !== "write") throw new Error("nothing to write");
  return plan;
};

describe("admit", () => {
  it("checks nothing by default that counts connections which say nothing, and what the record says otherwise", () => {
    const check = { type: "http", path: "/readyz", port: 3000 } as const;
    const protocols = {
      tls: { port: 3080, check },
      ssh: 22,
      mysql: 3306,
      postgres: 5432,
      web: { port: 80, check: "tls" as const },
    };
    const plan = written(step(undefined, record({ protocols })));
    const checks = Object.fromEntries(plan.routes!.map((route) => [route.protocol, route.check]));
    expect(checks).toEqual({ tls: check, ssh: "none", mysql: "none", postgres: undefined, web: "tls" });
    const back = written(step(undefined, record({ protocols: { ssh: { port: 22, check: "tcp" } } })));
    expect(back.routes![0]).not.toHaveProperty("check");
  });

  it("refuses limits above what the fleet allows, and passes others on to the routes", () => {
    const asks = (sessionLimits: object) => written(step(undefined, record({ sessionLimits })));
    expect(asks({ open: 1001, newPerSecond: 100 }).row.reasons).toEqual([
      "sessionLimits.open: is 1001, this fleet allows at most 1000",
    ]);
    const plan = asks({ open: 1000 });
    expect(plan.routes!.map((route) => route.sessionLimits)).toEqual([{ open: 1000 }, { open: 1000 }]);
  });

  it("forgets slots that turned out to be other tenants', and keeps those that it is admitted with", () => {
    const { row } = written(step(undefined, record({ protocols: { ssh: 22, tls: 3080 } })));
    const given = { ...facts({ ...row, spare: [7, 8], slots: { ...row.slots, mysql: 9 } }, record()) };
    const mended = withoutSlots(given, [7, 9])!;
    expect(mended.row).toEqual({ ...row, spare: [8], version: row.version + 1 });
    expect([mended.claim, mended.takeSlots, mended.routes]).toEqual([[], [], undefined]);
    expect(withoutSlots(given, [5])).toBeUndefined();
    expect(withoutSlots(given, Object.values(row.slots))).toBeUndefined();
    expect(withoutSlots(facts(undefined, record()), [7])).toBeUndefined();
  });

  it("gives a protocol that is told by ALPN no slot: it is a part of the route of tls", () => {
    const byPort = { tls: 3080, postgres: 5432 };
    const byAlpn = { tls: 3080, postgres: { port: 5432, alpn: "postgresql", proxyProtocol: "v1" as const } };
    const plan = written(step(undefined, record({ protocols: byAlpn, allow: ["10.0.0.0/8"] })));
    expect(plan.row.slots).toEqual({ tls: 20_000 });
    expect(plan.routes).toEqual([
      {
        slot: 20_000,
        tenantId: "acme",
        protocol: "tls",
        generation: 1,
        hostnames: ["acme.tenants.example.com"],
        backends: { "us-west-2": ["10.0.1.15:3080"] },
        alpn: { postgresql: { backends: { "us-west-2": ["10.0.1.15:5432"] }, proxyProtocol: "v1" } },
        allow: ["10.0.0.0/8"],
      },
    ]);
    const moved = written(step(plan.row, record({ protocols: byPort }), 5));
    expect(moved.takeSlots).toEqual([{ protocol: "postgres", slot: 5, free: false }]);
    const back = written(step(moved.row, record({ protocols: byAlpn }), 9));
    expect(back.tombstoneSlots).toEqual([{ protocol: "postgres", slot: 5, reason: "protocol removed" }]);
    expect(back.routes?.map(({ slot }) => slot)).toEqual([20_000]);
    const again = written(step(back.row, record({ protocols: byPort }), 12));
    expect(again.row.slots).toEqual({ tls: 20_000, postgres: 5 });
  });

  it("gives a new tenant its claims, one slot for each protocol, and routes", () => {
    const plan = written(step(undefined, record()));
    expect(plan.row).toMatchObject({ state: "Admitted", version: 1, generation: 1, slots: { ssh: 0, tls: 20_001 } });
    expect(plan.claim).toEqual(["acme.tenants.example.com"]);
    expect(plan.routes).toEqual([
      {
        slot: 0,
        tenantId: "acme",
        protocol: "ssh",
        generation: 1,
        hostnames: [],
        port: 10000,
        backends: { "us-west-2": ["10.0.1.15:3023"] },
        check: "none",
      },
      {
        slot: 20_001,
        tenantId: "acme",
        protocol: "tls",
        generation: 1,
        hostnames: ["acme.tenants.example.com"],
        backends: { "us-west-2": ["10.0.1.15:3080"] },
      },
    ]);
  });

  it("changes nothing when it admits the same record again", () => {
    const { row } = written(step(undefined, record()));
    expect(step(row, record()).kind).toBe("unchanged");
  });

  it("keeps slots through an edit, a suspension and a removal", () => {
    let { row } = written(step(undefined, record()));
    const { slots } = row;
    const edits = [record({ suspended: true }), record({ protocols: { tls: 1 } }), undefined, record()];
    for (const edit of edits) {
      row = written(step(row, edit, 50)).row;
      expect(row.slots).toEqual(slots);
    }
    expect(row).toMatchObject({ state: "Admitted", generation: 5 });
  });

  it("removes a suspended tenant's routes, and keeps its names", () => {
    const { row } = written(step(undefined, record()));
    const plan = written(step(row, record({ suspended: true })));
    expect(plan.routes).toEqual([]);
    expect(plan.dropRoutes.toSorted()).toEqual([0, 20_001]);
    expect(plan.release).toEqual([]);
    expect(plan.row.state).toBe("Suspended");
  });

  it("leaves a tombstone for every slot of a removed tenant, and releases its names", () => {
    const { row } = written(step(undefined, record()));
    const plan = written(step(row, undefined));
    expect(plan.tombstoneSlots.map(({ slot }) => slot).toSorted()).toEqual([0, 20_001]);
    expect(plan.release).toEqual(["acme.tenants.example.com"]);
    expect(plan.row.state).toBe("Removed");
  });

  it("keeps serving the old record when a new one is bad", () => {
    const { row } = written(step(undefined, record()));
    const plan = written(step(row, record({ homeRegion: "mars-north-1" })));
    expect(plan.row).toMatchObject({ state: "Rejected", admitted: row.admitted, claims: row.claims });
    expect(plan.routes).toBeUndefined();
    expect(plan.row.reasons.length).toBeGreaterThan(0);
    expect(refuse(facts(row, record()), "Rejected", ["because"], {}).release).toEqual([]);
  });

  it("recognises a refusal that repeats the last one", () => {
    const refused = refuse(facts(undefined, record()), "Rejected", ["taken"], {}, { blocked: ["x.com"] });
    const again = facts(refused.row, record());
    expect(isSameRefusal(refuse(again, "Rejected", ["taken"], {}, { blocked: ["x.com"] }), refused.row)).toBe(true);
    expect(isSameRefusal(refuse(again, "Rejected", ["taken"], {}, { blocked: ["y.com"] }), refused.row)).toBe(false);
    expect(isSameRefusal(refuse(again, "Pending", ["taken"], {}), refused.row)).toBe(false);
    expect(isSameRefusal(refused, undefined)).toBe(false);
  });

  it("keeps the slots reserved for a refused record, and uses them at the next attempt", () => {
    const refused = refuse(facts(undefined, record()), "Rejected", ["taken"], {
      ssh: { slot: 7, free: false },
      tls: { slot: 20108, free: false },
    });
    expect(refused.row.spare).toEqual([7, 20108]);
    const again = facts(refused.row, record({ hostnames: ["other.tenants.example.com"] }));
    expect(slotsWanted(again)).toEqual([]);
    const plan = written(admit(again, {}));
    expect(plan.row.slots).toEqual({ ssh: 7, tls: 20108 });
    expect(plan.row.spare).toBeUndefined();
  });

  it("frees spare slots of a tenant that is removed, or that goes to another cell", () => {
    const fresh = { ssh: { slot: 7, free: false }, tls: { slot: 20108, free: false } };
    const { row } = refuse(facts(undefined, record()), "Rejected", ["taken"], fresh);
    const freed = [
      { cell: "c1", slot: 7 },
      { cell: "c1", slot: 20108 },
    ];
    expect(written(admit(facts(row, undefined), {}))).toMatchObject({ freeSlots: freed });
    const elsewhere = {
      ...facts(row, record({ hostnames: ["b.tenants.example.com"] })),
      cell: { ...cell, name: "c2" },
    };
    const moved = written(admit(elsewhere, { ssh: { slot: 1, free: false }, tls: { slot: 20001, free: false } }));
    expect(moved).toMatchObject({ freeSlots: freed, row: { cell: "c2", slots: { ssh: 1, tls: 20001 } } });
    expect(written(admit(facts(row, record({ suspended: true })), {})).freeSlots).toEqual([]);
  });

  it("claims only new names, and leaves a tombstone for a removed protocol's slot", () => {
    const { row } = written(step(undefined, record()));
    const plan = written(step(row, record({ protocols: { tls: 3080, postgres: 5432 } }), 50));
    expect(plan).toMatchObject({
      claim: [],
      release: [],
      takeSlots: [{ protocol: "postgres", slot: 50 }],
      dropRoutes: [0],
    });
    expect(plan.tombstoneSlots).toEqual([{ protocol: "ssh", slot: 0, reason: "protocol removed" }]);
  });

  it("uses a tenant's own given-up slots before new ones, and the same slot for the same protocol", () => {
    const { row: first } = written(step(undefined, record({ protocols: { ssh: 3023, tls: 3080 } })));
    const { row: second } = written(step(first, record({ protocols: { postgres: 5432, tls: 3080 } }), 50));
    expect(second.slots).toEqual({ ssh: 0, postgres: 50, tls: first.slots.tls });
    const again = facts(second, record({ protocols: { ssh: 3023, tls: 3080 } }));
    expect(slotsWanted(again)).toEqual([]);
    expect(written(admit(again, {})).row.slots).toEqual(second.slots);
    const third = facts(second, record({ protocols: { mysql: 3306, postgres: 5432 } }));
    expect(slotsWanted(third)).toEqual([]);
    const plan = written(admit(third, {}));
    expect(plan.row.slots).toEqual({ mysql: 0, postgres: 50, tls: first.slots.tls });
    expect(plan.takeSlots).toEqual([{ protocol: "mysql", slot: 0, free: false }]);
  });

  it("never has more than two slots for each protocol of a record, however often protocols change", () => {
    const letters = "abcdefghijklmnopqrstuvwxyz".split("");
    const protocols = fc.uniqueArray(fc.constantFrom(...letters), {
      minLength: 1,
      maxLength: tenantLimits.protocolsMax,
    });
    fc.assert(
      fc.property(fc.array(protocols, { maxLength: 40 }), (history) => {
        let row: TenantRow | undefined;
        let used = 0;
        for (const names of history) {
          const change = record({ protocols: Object.fromEntries(names.map((name, index) => [name, 1 + index])) });
          const plan = step(row, change, used);
          used += 10;
          if (plan.kind !== "write") continue;
          row = plan.row;
          const slots = Object.values(row.slots);
          expect(new Set(slots).size).toBe(slots.length);
          expect(slots.length).toBeLessThanOrEqual(2 * tenantLimits.protocolsMax);
          for (const { slot } of plan.tombstoneSlots) expect(slots).toContain(slot);
        }
      }),
    );
  });

  it("gives slots to protocols named like built-in object properties", () => {
    const plan = written(
      step(undefined, record({ protocols: { constructor: 22, tostring: 23 } as Record<string, number> })),
    );
    expect(plan.routes?.map(({ protocol, port }) => [protocol, port])).toEqual([
      ["constructor", 10000],
      ["tostring", 10001],
    ]);
  });

  it("refuses a change that does not fit in one transaction, and shortens its reasons", () => {
    const names = (letter: string) => Array.from({ length: 20 }, (_, i) => `x.${letter}${i}.com`);
    const protocols = (letter: string) =>
      Object.fromEntries(Array.from({ length: 8 }, (_, i) => [`${letter}${i}`, 1 + i]));
    const { row } = written(step(undefined, record({ hostnames: names("a"), protocols: protocols("p") })));
    const plan = written(step(row, record({ hostnames: names("b"), protocols: protocols("q") }), 20));
    expect(plan.row.state).toBe("Rejected");
    expect(plan.row.reasons.join()).toMatch(/too much at once/);
    const many = refuse(
      facts(undefined, record()),
      "Rejected",
      Array.from({ length: 9000 }, () => "r".repeat(70_000)),
      {},
    );
    expect(JSON.stringify(many.row.reasons).length).toBeLessThan(8000);
    expect(many.row.reasons.at(-1)).toBe("and 8980 more");
  });

  it("never exceeds the size of a transaction, whatever the history", () => {
    const edit = fc.record({
      hostnames: fc.uniqueArray(
        fc.nat(60).map((n) => `x.z${n}.com`),
        { minLength: 1, maxLength: 20 },
      ),
      protocols: fc.dictionary(fc.constantFrom(..."abcdefghijkl"), fc.integer({ min: 1, max: 9 }), {
        minKeys: 1,
        maxKeys: 8,
      }),
      suspended: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(fc.option(edit, { nil: undefined }), { maxLength: 8 }), (history) => {
        let row: TenantRow | undefined;
        let used = 0;
        for (const change of history) {
          const plan = step(row, change && record(change), used);
          used += 10;
          if (plan.kind !== "write") continue;
          expect(writesOf(plan)).toBeLessThanOrEqual(tenantLimits.transactionWritesMax);
          row = plan.row;
        }
      }),
    );
  });

  it("does nothing for a tenant that never existed", () => {
    expect(step(undefined, undefined)).toEqual({ kind: "unchanged", row: undefined });
  });

  it("increments the generation exactly when the record changes, whatever the history", () => {
    const edits = fc.array(
      fc.option(
        fc.record({
          suspended: fc.boolean(),
          multiRegion: fc.boolean(),
          protocols: fc.constantFrom({ tls: 1 }, { ssh: 2 }, { tls: 1, ssh: 2 }),
        }),
        { nil: undefined },
      ),
      { maxLength: 12 },
    );
    fc.assert(
      fc.property(edits, (history) => {
        let row: TenantRow | undefined;
        let used = 0;
        for (const edit of history) {
          const value = edit && record(edit);
          const changed = (row?.hash ?? absent) !== facts(row, value).hash;
          const plan = step(row, value, used);
          used += 10;
          expect(plan.kind === "write").toBe(changed);
          if (plan.kind !== "write") continue;
          expect(plan.row.generation).toBe((row?.generation ?? 0) + 1);
          for (const [protocol, slot] of Object.entries(row?.slots ?? {})) expect(plan.row.slots[protocol]).toBe(slot);
          const slots = (plan.routes ?? []).map((route) => route.slot);
          expect(plan.dropRoutes.some((slot) => slots.includes(slot))).toBe(false);
          row = plan.row;
        }
      }),
    );
  });
});

describe("mustWait", () => {
  it("holds back a plan that gives a new name while names are held, and no other plan", () => {
    const held = (row: TenantRow | undefined, value: TenantRecord) => ({ ...facts(row, value), namesHeld: true });
    const first = step(undefined, record()) as AdmissionPlan;
    expect(mustWait(held(undefined, record()), first)).toBe(true);
    expect(mustWait(facts(undefined, record()), first)).toBe(false);
    const moved = record({ backends: { "us-west-2": ["10.0.0.99"] } });
    expect(mustWait(held(first.row, moved), step(first.row, moved) as AdmissionPlan)).toBe(false);
  });
});

describe("routesOf", () => {
  it("uses only the home region's backends unless the tenant is multi-region", () => {
    const slots = { tls: 100, ssh: 3 };
    expect(routesOf(record(), 1, slots, cell).map(({ backends }) => Object.keys(backends))).toEqual([
      ["us-west-2"],
      ["us-west-2"],
    ]);
    const [ssh] = routesOf(record({ multiRegion: true }), 1, slots, cell);
    expect(ssh).toMatchObject({
      port: 10003,
      backends: { "eu-west-3": ["10.1.1.15:3023"], "us-west-2": ["10.0.1.15:3023"] },
    });
  });

  it("puts IPv6 addresses in brackets", () => {
    const [route] = routesOf(
      record({ protocols: { ssh: 22 }, backends: { "us-west-2": ["fd00::1"] } }),
      1,
      { ssh: 0 },
      cell,
    );
    expect(route?.backends).toEqual({ "us-west-2": ["[fd00::1]:22"] });
  });
});

describe("bucketOf", () => {
  it("spreads tenants with consecutive names over the 64 buckets", () => {
    const counts = new Map<number, number>();
    for (let i = 0; i < 6400; i++) counts.set(bucketOf(`tenant-${i}`), (counts.get(bucketOf(`tenant-${i}`)) ?? 0) + 1);
    expect(counts.size).toBe(64);
    expect(Math.max(...counts.values())).toBeLessThan(200);
  });
});

describe("validateRecord", () => {
  const reasons = (changes: Partial<TenantRecord>) => {
    const validated = validateRecord(record(changes), fleet);
    return validated.ok ? [] : validated.reasons;
  };

  it.each([
    ["the unspecified address", "0.0.0.0", /never a backend/],
    ["the metadata address", "169.254.169.254", /linkLocal.*never a backend/],
    ["multicast", "224.0.0.1", /multicast/],
    ["loopback", "127.0.0.1", /outside the ranges/],
    ["a public address", "8.8.8.8", /outside the ranges/],
    ["link-local IPv6", "fe80::1", /never a backend/],
  ])("refuses %s as a backend", (_, address, reason) => {
    expect(reasons({ backends: { "us-west-2": [address] } }).join()).toMatch(reason);
  });

  it("refuses a backend's name below the platform's own domains: the edge would connect to itself", () => {
    const names = ["nlb.internal.example.org", "acme.tenants.example.com", "c1.landfall.example.com"];
    expect(reasons({ backends: { "us-west-2": names } })).toEqual([
      "backends.us-west-2[1]: acme.tenants.example.com is below tenants.example.com: the edge would connect to itself",
      "backends.us-west-2[2]: c1.landfall.example.com is below landfall.example.com: the edge would connect to itself",
    ]);
  });

  it("lists the fleet's regions when a region is unknown", () => {
    expect(reasons({ homeRegion: "mars-north-1", backends: { "mars-north-1": ["10.0.0.1"] } })).toEqual([
      "backends.mars-north-1: is not a region of this fleet: use one of eu-west-3, us-west-2 (got mars-north-1)",
      "homeRegion: is not a region of this fleet: use one of eu-west-3, us-west-2 (got mars-north-1)",
    ]);
  });

  it("names the field of each name that no tenant can have, and says why", () => {
    const wildcards = ["*.tenants.example.com", "*.co.uk", "*.x.tenants.example.com", "*.acme.com"];
    expect(reasons({ hostnames: ["landfall.example.com", "acme.com"], wildcards })).toEqual([
      "hostnames[0]: landfall.example.com belongs to the platform",
      "wildcards[0]: *.tenants.example.com: tenants.example.com belongs to the platform",
      "wildcards[1]: *.co.uk: co.uk is a public suffix, which no tenant can own",
    ]);
  });
});
