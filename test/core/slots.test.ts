import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { TenantRow } from "../../core/admission/tenant-row.ts";
import { validateRecord } from "../../core/admission/validate.ts";
import { type Placement, placeTenants } from "../../core/slots/placement.ts";
import { shareOut } from "../../core/slots/pools.ts";
import { cell, fleet, record } from "../fixtures/fleet.ts";

describe("shareOut", () => {
  const slot = (number: number) => ({ slot: number, free: false });
  it("gives a tenant all its slots or none, and unused slots to the next tenant", () => {
    const wants = [
      { tenantId: "big", cell: "c1", protocols: ["postgres", "ssh"] },
      { tenantId: "small", cell: "c1", protocols: ["ssh"] },
    ];
    const { given, unused } = shareOut(wants, [{ cell: "c1", kind: "raw", slots: [slot(4)] }]);
    expect([...given]).toEqual([["small", { ssh: slot(4) }]]);
    expect(unused).toEqual([]);
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
          const { given, unused } = shareOut(wants, pools);
          const used = [...given.values()].flatMap((slots) => Object.values(slots).map(({ slot: number }) => number));
          const rest = unused.flatMap(({ slots }) => slots.map(({ slot: number }) => number));
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
  const nameOf = (placement: Placement) => ("cell" in placement ? placement.cell.name : placement.waits);
  const tenant = (tenantId: string, row?: TenantRow) => ({
    tenantId,
    row,
    record: validateRecord(record({ tenantId, hostnames: [`${tenantId}.example.org`] }), fleet),
  });

  it("places a new tenant in the cell with most room, and counts earlier placements", () => {
    const placed = placeTenants(
      ["a", "b", "c", "d"].map((id) => tenant(id)),
      rooms,
    );
    expect([...placed.values()].map(nameOf)).toEqual(["c2", "c2", "c1", "c2"]);
  });
  it("places new tenants in cells that are not halted, and lets those of a halted cell wait alone", () => {
    const halted = [rooms[0]!, { ...rooms[1]!, isHalted: true }];
    const row = { cell: "c2", slots: { ssh: 1 } } as unknown as TenantRow;
    const placed = placeTenants([tenant("a", row), tenant("b"), tenant("c")], halted);
    expect([...placed.values()].map(nameOf)).toEqual(["its cell c2 is halted", "c1", "c1"]);
    const all = halted.map((room) => ({ ...room, isHalted: true }));
    expect(placeTenants([tenant("a")], all).get("a")).toEqual({ waits: "every cell is halted" });
  });
  it("lets a tenant wait whose cell is not in the fleet any more, and places the others", () => {
    const row = { cell: "gone", slots: { ssh: 1 } } as unknown as TenantRow;
    const placed = placeTenants([tenant("a", row), tenant("b")], rooms);
    expect([...placed.values()].map(nameOf)).toEqual(["its cell gone is not in the fleet", "c2"]);
  });
  it("leaves a tenant that has slots in its cell", () => {
    const row = { cell: "c1", slots: { ssh: 1 } } as unknown as TenantRow;
    expect(nameOf(placeTenants([tenant("a", row)], rooms).get("a")!)).toBe("c1");
  });
});
