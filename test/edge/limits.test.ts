/** What a tenant, and one of its sources, may have on an edge. */
import { describe, expect, it } from "vitest";
import { readContent, routeContent } from "../../edge/agent/routes/content.ts";
import { limitedBy, sourceOf, type TenantUse } from "../../edge/agent/sessions/limits.ts";
import { SessionTable } from "../../edge/agent/sessions/table.ts";

const limits = { open: 100, newPerSecond: 20 };
const use = (changes: Partial<TenantUse> = {}): TenantUse => ({ open: 0, lately: 0, sources: new Map(), ...changes });

describe("a tenant", () => {
  it.each([
    [use({ open: 99, lately: 19 }), [], "below both limits"],
    [use({ open: 100 }), ["full"], "with as many open sessions as it may have"],
    [use({ lately: 20 }), ["full"], "that opened as many in a second as it may"],
    [use({ open: 30, sources: new Map([["a-a", 24]]) }), [], "with a source below its share"],
    [
      use({
        open: 60,
        sources: new Map([
          ["b-b", 25],
          ["a-a", 30],
          ["c-c", 5],
        ]),
      }),
      ["block=a-a,b-b"],
      "with two heavy sources",
    ],
  ])("%# gets the options %j: %s", (given, options) => {
    expect(limitedBy(given as TenantUse, limits, [])).toEqual(options);
  });

  it("that was full opens sessions again a little below its limit", () => {
    expect(limitedBy(use({ open: 96 }), limits, ["full"])).toEqual(["full"]);
    expect(limitedBy(use({ open: 94 }), limits, ["full"])).toEqual([]);
  });

  it("with a limit of one is full with one session, and blocks its source no earlier", () => {
    expect(limitedBy(use({ open: 0 }), { open: 1, newPerSecond: 1 }, [])).toEqual([]);
    expect(limitedBy(use({ open: 1 }), { open: 1, newPerSecond: 9 }, [])).toEqual(["full"]);
  });
});

describe("a source", () => {
  it("is an IPv4 address, or the /56 of an IPv6 address", () => {
    expect(sourceOf("203.0.113.7")).toBe("cb007107-cb007107");
    const prefix = "20010db8000001";
    expect(sourceOf("2001:db8:0:1ff::7")).toBe(`${prefix}${"0".repeat(18)}-${prefix}${"f".repeat(18)}`);
    expect(sourceOf("2001:db8:0:100::1")).toBe(sourceOf("2001:db8:0:1ff::7"));
    expect(sourceOf("not an address")).toBe("0-0");
    expect(sourceOf("2001:db8:0:200::1")).not.toBe(sourceOf("2001:db8:0:1ff::7"));
  });
});

describe("the table of sessions", () => {
  const now = 1_000_000;
  const opened = (connection: number, address: string, port: number) =>
    `7 acme 10.0.0.1:1 ${connection} ${address} ${port} 443`;
  const ended = (connection: number, address: string, port: number) =>
    `7 acme ${connection} ${address} ${port} 443 200 1 1 0.1`;

  it("knows what a tenant has open, by source, and what it opened lately", () => {
    const table = new SessionTable();
    table.opened([opened(1, "10.9.0.1", 5), opened(2, "10.9.0.1", 6), opened(3, "10.9.0.2", 5)], now);
    expect(table.takeTouched()).toEqual(new Set(["acme"]));
    expect(table.takeTouched()).toEqual(new Set());
    const sources = new Map([
      [sourceOf("10.9.0.1"), 2],
      [sourceOf("10.9.0.2"), 1],
    ]);
    expect(table.useOf("acme", now)).toEqual({ open: 3, lately: 3, sources });
    table.ended([ended(1, "10.9.0.1", 5), ended(3, "10.9.0.2", 5), ended(3, "10.9.0.2", 5)]);
    expect(table.useOf("acme", now + 999)).toEqual({
      open: 1,
      lately: 3,
      sources: new Map([[sourceOf("10.9.0.1"), 1]]),
    });
    expect(table.useOf("acme", now + 1000)?.lately).toBe(0);
    expect(table.useOf("nobody", now)).toBeUndefined();
  });

  it("counts a client's port once that is used again before its first session's end was read", () => {
    const table = new SessionTable();
    table.opened([opened(1, "10.9.0.1", 5)], now);
    table.opened([opened(2, "10.9.0.1", 5)], now);
    expect(table.useOf("acme", now)?.open).toBe(1);
    table.ended([ended(1, "10.9.0.1", 5)]);
    expect(table.useOf("acme", now)?.open).toBe(1);
    table.ended([ended(2, "10.9.0.1", 5)]);
    expect(table.useOf("acme", now)?.open).toBe(0);
  });

  it("counts sessions of an earlier run, and those whose clients have gone until they end", () => {
    const table = new SessionTable();
    table.restore([opened(1, "10.9.0.1", 5), opened(2, "10.9.0.1", 6)], now);
    expect(table.useOf("acme", now)).toMatchObject({ open: 2, lately: 0 });
    expect(table.unseen(1000, now + 5000)).toEqual(new Map([["10.0.0.1:1", ["10.9.0.1 5 443", "10.9.0.1 6 443"]]]));
    table.forget(["10.9.0.1 5 443"]);
    expect(table.useOf("acme", now)?.open).toBe(1);
  });
});

describe("a route file", () => {
  it("that an earlier run left says what the route is, not how many sessions there were", () => {
    const target = { groups: ["10.0.0.1:1"], options: ["full", "block=a-b", "v2"] };
    expect(readContent(routeContent({ slot: 7, tenantId: "acme", target }, () => true))?.target.options).toEqual([
      "v2",
    ]);
  });
});
