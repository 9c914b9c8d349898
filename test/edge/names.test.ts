import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Answer, isNamed, Names, namesIn } from "../../edge/agent/backends/names.ts";
import { clock } from "../../edge/agent/clock.ts";
import { sameSlots } from "../../edge/agent/routes/plan.ts";
import { RoutesDir } from "../../edge/agent/routes/routes-dir.ts";
import { edgeLimits } from "../../schemas/limits.ts";

const { lookupEveryMs } = edgeLimits;
const context = {
  nearest: ["us-west-2", "eu-west-3"],
  backendRanges: ["10.0.0.0/8", "fd00::/8"],
  portBase: 10_000,
  portCount: 9,
};
const route = (slot: number, backends: Record<string, string[]>, more: object = {}) => ({
  slot,
  tenantId: `t${slot}`,
  protocol: "tls",
  generation: 1,
  hostnames: [`t${slot}.example.com`],
  backends,
  ...more,
});

describe("a leaf's text", () => {
  it("shows the names that its backends have, and takes no address for one", () => {
    const text = JSON.stringify({
      routes: [
        route(1, {
          "us-west-2": ["nlb-1.elb.example.com:3080", "10.0.0.1:3080", "[fd00::a]:3080"],
          "eu-west-3": ["7x.example:22"],
        }),
      ],
    });
    expect(namesIn(text)).toEqual(["nlb-1.elb.example.com", "7x.example"]);
    expect(["10.0.0.1:1", "[fd00::a]:1", "a.example:1"].map(isNamed)).toEqual([false, false, true]);
  });
});

describe("names of backends", () => {
  let answers: Record<string, string[] | Partial<Answer>>;
  let asked: string[];
  let names: Names;
  beforeEach(() => {
    answers = { a: ["10.0.0.2", "10.0.0.1"], b: ["10.0.1.1"] };
    asked = [];
    names = new Names(async (name) => {
      asked.push(name);
      const answer = answers[name] ?? [];
      return Array.isArray(answer) ? { four: answer, six: [] } : { four: undefined, six: undefined, ...answer };
    });
  });
  const tick = async (now: number) => {
    names.tick(now);
    await new Promise(setImmediate);
  };

  it("are known after the first answer, in one order, and asked for again every ten seconds", async () => {
    await names.learn(["a", "b", "a"]);
    expect(names.addressesOf("a")).toEqual(["10.0.0.1", "10.0.0.2"]);
    expect(names.takeChanged()).toEqual(new Set(["a", "b"]));
    const now = clock();
    await tick(now);
    await names.learn(["a"]);
    expect(asked).toEqual(["a", "b"]);
    answers.a = ["10.0.0.1", "10.0.0.2"];
    answers.b = ["10.0.1.2"];
    await tick(now + lookupEveryMs + 1);
    expect(asked).toEqual(["a", "b", "a", "b"]);
    expect(names.takeChanged()).toEqual(new Set(["b"]));
  });

  it("keep their addresses when the DNS has none, or does not answer", async () => {
    await names.learn(["a", "b"]);
    names.takeChanged();
    answers = { a: [], b: { fault: new Error("SERVFAIL") } };
    await tick(clock() + 2 * lookupEveryMs);
    expect([names.addressesOf("a"), names.addressesOf("b")]).toEqual([["10.0.0.1", "10.0.0.2"], ["10.0.1.1"]]);
    expect(names.takeChanged().size).toBe(0);
    expect(names.fault).toMatchObject({ message: "SERVFAIL" });
  });

  it("keep those of a family for which the DNS says nothing, and lose those for which it has no record", async () => {
    answers.a = { four: ["10.0.0.1"], six: ["fd00::1"] };
    await names.learn(["a"]);
    answers.a = { four: ["10.0.0.2"], fault: new Error("TIMEOUT") };
    await tick(clock() + 2 * lookupEveryMs);
    expect(names.addressesOf("a")).toEqual(["10.0.0.2", "fd00::1"]);
    answers.a = { four: ["10.0.0.2"], six: [] };
    await tick(clock() + 4 * lookupEveryMs);
    expect(names.addressesOf("a")).toEqual(["10.0.0.2"]);
  });

  it("are forgotten when no route has them, even while an answer is under way", async () => {
    const learnt = names.learn(["a", "b"]);
    names.keep(new Set(["b"]));
    await learnt;
    expect([names.addressesOf("a"), names.count]).toEqual([[], 1]);
    expect(names.takeChanged()).toEqual(new Set(["b"]));
  });

  it("count as changed again when they could not be served", async () => {
    await names.learn(["a"]);
    names.putBack(names.takeChanged());
    expect(names.takeChanged()).toEqual(new Set(["a"]));
  });
});

describe("a routes directory", () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(path.join(os.tmpdir(), "landfall-names-"));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  const serve = (addresses: Record<string, string[]>) => {
    const routes = new RoutesDir(
      dir,
      () => true,
      (name) => addresses[name] ?? [],
    );
    const read = (slot: number) =>
      readFileSync(path.join(dir, `n/t${slot}.example.com`), "utf8")
        .split("\n")
        .slice(1);
    return { routes, read };
  };

  it("has the addresses of a backend's name, inside the ranges only, and the next region's while it has none", async () => {
    const addresses: Record<string, string[]> = { "nlb.example": ["10.0.0.1", "8.8.8.8", "fd00::1"] };
    const { routes, read } = serve(addresses);
    const leaf = {
      routes: [
        route(1, { "us-west-2": ["nlb.example:3080", "10.9.9.9:3080"] }),
        route(2, { "us-west-2": ["none.example:1"], "eu-west-3": ["10.2.2.2:1"] }),
      ],
    };
    await routes.apply([["0/", () => leaf]], context);
    expect(read(1)).toEqual(["+10.0.0.1:3080", "+[fd00::1]:3080", "+10.9.9.9:3080", ""]);
    expect(read(2)).toEqual(["+10.2.2.2:1", ""]);
    expect(routes.names).toEqual(new Set(["nlb.example", "none.example"]));
    expect(routes.takeBackends().began).toEqual(
      new Set(["10.0.0.1:3080", "[fd00::1]:3080", "10.9.9.9:3080", "10.2.2.2:1"]),
    );
  });

  it("is rewritten for the routes of a name that changed, and knows their new backends", async () => {
    const addresses: Record<string, string[]> = { "nlb.example": ["10.0.0.1"], "other.example": ["10.0.0.7"] };
    const { routes, read } = serve(addresses);
    const leaf = {
      routes: [route(1, { "us-west-2": ["nlb.example:3080"] }), route(2, { "us-west-2": ["other.example:3080"] })],
    };
    await routes.apply([["0/", () => leaf]], context);
    routes.takeBackends();
    Object.assign(addresses, { "nlb.example": ["10.0.0.2"], "other.example": ["10.0.0.8"] });
    expect(routes.slotsNaming(new Set(["nlb.example"]))).toEqual(new Map([["0/", new Set([1])]]));
    await routes.apply([["0/", () => ({ ...leaf, same: new Set([2]) })]], context);
    expect([read(1), read(2)]).toEqual([
      ["+10.0.0.2:3080", ""],
      ["+10.0.0.7:3080", ""],
    ]);
    expect(routes.takeBackends()).toEqual({ began: new Set(["10.0.0.2:3080"]), ended: new Set(["10.0.0.1:3080"]) });
    expect(routes.names).toEqual(new Set(["nlb.example", "other.example"])); // also of the route that was left as it is
  });

  it.each([
    ["has no address yet", []],
    ["has only addresses outside the allowed ranges (8.8.8.8)", ["8.8.8.8"]],
  ])("refuses a route whose backend %s, and serves it once it has one", async (reason, first) => {
    const addresses: Record<string, string[]> = { "nlb.example": first };
    const { routes, read } = serve(addresses);
    const leaf = {
      routes: [
        route(
          1,
          { "us-west-2": ["nlb.example:3080"] },
          { alpn: { h2: { backends: { "us-west-2": ["10.0.0.5:1"] } } } },
        ),
      ],
    };
    await routes.apply([["0/", () => leaf]], context);
    expect(routes.rejected).toEqual([{ tenantId: "t1", slot: 1, reason: `backend nlb.example ${reason}` }]);
    expect(readdirSync(path.join(dir, "n"))).toEqual([]);
    addresses["nlb.example"] = ["10.0.0.2"];
    expect(routes.slotsNaming(new Set(["nlb.example"]))).toEqual(new Map([["0/", new Set([1])]]));
    await routes.apply([["0/", () => ({ ...leaf, same: sameSlots(leaf, { routes: [] }) })]], context);
    expect(routes.rejected).toEqual([]);
    expect(read(1)).toEqual(["+10.0.0.2:3080", ""]);
  });
});
