import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type LeafChange, sameSlots } from "../../edge/agent/routes/plan.ts";
import { routeFiles } from "../../edge/agent/routes/route-files.ts";
import { RoutesDir } from "../../edge/agent/routes/routes-dir.ts";
import type { Route } from "../../schemas/snapshot.ts";

const context = {
  nearest: ["eu-west-3", "us-west-2"],
  backendRanges: ["10.0.0.0/8", "fd00::/8"],
  portBase: 10000,
  portCount: 100,
};
const tlsRoute = (changes: Partial<Route> = {}): Route => ({
  slot: 100,
  tenantId: "acme",
  protocol: "tls",
  generation: 1,
  hostnames: ["a.example.com"],
  backends: { "us-west-2": ["10.0.0.1:3080"], "eu-west-3": ["10.1.0.1:3080", "[fd00::1]:3080"] },
  ...changes,
});

describe("routeFiles", () => {
  it("gives a file for each name, with the nearest region's backends first", () => {
    const made = routeFiles(tlsRoute({ wildcards: ["*.acme.com"] }), context);
    expect(made).toEqual({
      ok: true,
      route: {
        slot: 100,
        tenantId: "acme",
        files: ["n/a.example.com", "w/acme.com"],
        target: { groups: ["10.1.0.1:3080 [fd00::1]:3080", "10.0.0.1:3080"], options: [] },
        byAlpn: {},
      },
    });
  });

  it("gives files of their own to clients that offer an entry in ALPN, and each target its options", () => {
    const backends = { "us-west-2": ["10.0.0.1:5432"] };
    const made = routeFiles(
      tlsRoute({
        wildcards: ["*.acme.com"],
        proxyProtocol: "v2",
        affinity: "source",
        allow: ["10.2.0.0/16", "10.2.3.0/24", "10.1.0.0/16", "2001:db8::/127"],
        alpn: { postgresql: { backends, proxyProtocol: "v1" } },
      }),
      context,
    );
    if (!made.ok) throw new Error(made.reason);
    const { files, target, byAlpn } = made.route;
    expect(files).toEqual(["n/a.example.com", "n/a.example.com@postgresql", "w/acme.com", "w/acme.com@postgresql"]);
    const six = `20010db8${"0".repeat(24)}-20010db8${"0".repeat(23)}1`;
    const allow = `allow=0a010000-0a01ffff,0a020000-0a02ffff,${six}`;
    expect(target.options).toEqual(["v2", "source", "alpn", allow]);
    expect(byAlpn).toEqual({ postgresql: { groups: ["10.0.0.1:5432"], options: ["v1", allow] } });
  });

  it("names a raw slot's file by its port", () => {
    const raw = tlsRoute({ slot: 7, protocol: "ssh", port: 10007, hostnames: [] });
    const made = routeFiles(raw, context);
    expect(made.ok && made.route.files).toEqual(["p/10007"]);
  });

  it.each([
    ["a backend outside the allowed ranges", { backends: { "us-west-2": ["169.254.169.254:80"] } }],
    ["a loopback backend", { backends: { "us-west-2": ["127.0.0.1:80"] } }],
    ["a backend with a semicolon", { backends: { "us-west-2": ["10.0.0.1:80;"] } }],
    ["a range that is none", { allow: ["10.0.0.0/33"] }],
    ["a range with an option behind it", { allow: ["10.0.0.0/8 v1"] }],
    ["an ALPN entry that is a path", { alpn: { "../x": { backends: { "us-west-2": ["10.0.0.1:80"] } } } }],
    [
      "an ALPN entry whose backend is outside the ranges",
      { alpn: { pg: { backends: { "us-west-2": ["127.0.0.1:1"] } } } },
    ],
    ["a backend by name", { backends: { "us-west-2": ["example.com:80"] } }],
    ["a port above 65535", { backends: { "us-west-2": ["10.0.0.1:99999"] } }],
    ["an address that programs parse differently", { backends: { "us-west-2": ["012.0.0.1:80"] } }],
    ["an address of two parts", { backends: { "us-west-2": ["10.1:80"] } }],
    ["port 0", { backends: { "us-west-2": ["10.0.0.1:0"] } }],
    ["a tenant's id with a space", { tenantId: "acme globex" }],
    ["no backend", { backends: {} }],
    ["a name that leaves the folder", { hostnames: ["../../etc/passwd"] }],
    ["a name in upper case", { hostnames: ["A.example.com"] }],
    ["a port that is not its slot's", { port: 10001 }],
    ["an unknown field", { extra: true }],
  ])("refuses a route with %s", (_, changes) => {
    expect(routeFiles(tlsRoute(changes as Partial<Route>), context)).toMatchObject({ ok: false, slot: 100 });
  });
});

describe("RoutesDir", () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(path.join(os.tmpdir(), "landfall-routes-"));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  const names = () => readdirSync(path.join(dir, "n")).sort();
  const raw = (slot: number, tenantId: string) =>
    tlsRoute({ slot, tenantId, protocol: "ssh", port: 10000 + slot, hostnames: [] });
  const applyLeaves = (routes: RoutesDir, leaves: Iterable<[string, LeafChange]>) =>
    routes.apply(
      [...leaves].map(([leaf, change]) => [leaf, () => change]),
      context,
    );
  const apply = (routes: RoutesDir, ...list: Route[]) => applyLeaves(routes, [["0/", { routes: list }]]);

  it("writes new files, removes old ones, and leaves the rest untouched", async () => {
    const routes = new RoutesDir(dir);
    await apply(routes, tlsRoute(), tlsRoute({ slot: 101, hostnames: ["b.example.com", "c.example.com"] }));
    expect(names()).toEqual(["a.example.com", "b.example.com", "c.example.com"]);
    await apply(routes, tlsRoute({ slot: 101, hostnames: ["c.example.com"] }));
    expect(names()).toEqual(["c.example.com"]);
  });

  it("keeps a name that moved from one slot to another, in any order of routes", async () => {
    const routes = new RoutesDir(dir);
    await apply(routes, tlsRoute({ slot: 101 }));
    await apply(routes, tlsRoute({ slot: 100, backends: { "us-west-2": ["10.9.9.9:1"] } }));
    expect(readFileSync(path.join(dir, "n/a.example.com"), "utf8")).toBe("100 acme\n+10.9.9.9:1\n");
    await apply(routes, tlsRoute({ slot: 102 }));
    expect(names()).toEqual(["a.example.com"]);
  });

  it("keeps the last good state of a refused route, reports the reason, and applies the others", async () => {
    const routes = new RoutesDir(dir);
    await apply(routes, tlsRoute());
    const before = readFileSync(path.join(dir, "n/a.example.com"), "utf8");
    await apply(
      routes,
      tlsRoute({ backends: { "us-west-2": ["8.8.8.8:53"] } }),
      tlsRoute({ slot: 101, hostnames: ["b.example.com"] }),
    );
    expect(readFileSync(path.join(dir, "n/a.example.com"), "utf8")).toBe(before);
    expect(names()).toEqual(["a.example.com", "b.example.com"]);
    expect(routes.rejected).toEqual([{ tenantId: "acme", slot: 100, reason: expect.stringContaining("8.8.8.8:53") }]);
  });

  it("keeps a refused route's last good state over a restart too", async () => {
    await apply(new RoutesDir(dir), tlsRoute());
    const restarted = new RoutesDir(dir);
    await apply(restarted, tlsRoute({ backends: { "us-west-2": ["8.8.8.8:53"] } }));
    expect(names()).toEqual(["a.example.com"]);
  });

  const nameOf = (file: string) => readFileSync(path.join(dir, file), "utf8").split("\n")[0];

  it("keeps the routes by ALPN and the options of a route that is refused after a restart", async () => {
    const byAlpn = {
      alpn: { postgresql: { backends: { "us-west-2": ["10.0.0.1:5432"] }, proxyProtocol: "v1" as const } },
    };
    const route = tlsRoute({ ...byAlpn, affinity: "source" });
    await apply(new RoutesDir(dir), route);
    const texts = () => names().map((name) => readFileSync(path.join(dir, "n", name), "utf8"));
    const before = texts();
    expect(before[1]).toBe("100 acme v1\n+10.0.0.1:5432\n");
    const restarted = new RoutesDir(dir, () => true);
    await apply(restarted, { ...route, backends: { "us-west-2": ["8.8.8.8:53"] } });
    expect(texts().map((text) => text.split("\n")[0])).toEqual(before.map((text) => text.split("\n")[0]));
  });

  it("adds to all files of a tenant that its limits are reached, keeps that through changes, and can repeat it", async () => {
    const routes = new RoutesDir(dir);
    const other = tlsRoute({ slot: 101, tenantId: "globex", hostnames: ["b.example.com"] });
    await apply(routes, tlsRoute({ wildcards: ["*.example.com"], affinity: "source" }), other);
    routes.limit("acme", ["full"]);
    const heads = () => [nameOf("n/a.example.com"), nameOf("w/example.com"), nameOf("n/b.example.com")];
    expect(heads()).toEqual(["100 acme full source", "100 acme full source", "101 globex"]);
    await apply(routes, tlsRoute({ wildcards: ["*.example.com"], generation: 2 }), other);
    expect(heads()).toEqual(["100 acme full", "100 acme full", "101 globex"]);
    rmSync(path.join(dir, "n"), { recursive: true });
    expect(() => routes.limit("acme", [])).toThrow("ENOENT");
    mkdirSync(path.join(dir, "n"));
    routes.limit("acme", []);
    expect(nameOf("n/a.example.com")).toBe("100 acme");
    expect([...routes.limited.keys()]).toEqual([]);
  });

  it("goes back to what it served, when a change failed in the middle and the next one takes it back", async () => {
    const routes = new RoutesDir(dir);
    const first = [tlsRoute(), raw(5, "globex")];
    await apply(routes, ...first);
    rmSync(path.join(dir, "p"), { recursive: true });
    const moved = tlsRoute({
      generation: 2,
      backends: { "us-west-2": ["10.9.9.9:1"] },
      hostnames: ["new.example.com"],
    });
    await expect(apply(routes, moved, { ...raw(5, "globex"), generation: 2, allow: ["10.0.0.0/8"] })).rejects.toThrow();
    expect(names()).toEqual(["a.example.com", "new.example.com"]);
    mkdirSync(path.join(dir, "p"));
    await applyLeaves(routes, [["0/", { routes: first, same: new Set([100, 5]) }]]);
    expect(names()).toEqual(["a.example.com"]);
    expect([nameOf("n/a.example.com"), nameOf("p/10005")]).toEqual(["100 acme", "5 globex"]);
  });

  it("tells which backends its routes began and ceased to name", async () => {
    const routes = new RoutesDir(dir);
    const to = (...backends: string[]) => tlsRoute({ backends: { "us-west-2": backends } });
    const other = tlsRoute({ slot: 101, hostnames: ["b.example.com"], backends: { "us-west-2": ["10.0.0.9:1"] } });
    await apply(routes, to("10.0.0.1:1", "10.0.0.2:1"), other);
    const began = ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.9:1"];
    expect(routes.takeBackends()).toEqual({ began: new Set(began), ended: new Set() });
    await apply(routes, to("10.0.0.2:1", "10.0.0.3:1"), other);
    expect(routes.takeBackends()).toEqual({ began: new Set(["10.0.0.3:1"]), ended: new Set(["10.0.0.1:1"]) });
    await apply(routes);
    await apply(routes, to("10.0.0.2:1"));
    const ended = new Set(["10.0.0.3:1", "10.0.0.9:1"]);
    expect(routes.takeBackends()).toEqual({ began: new Set(), ended });
  });

  it("writes only the routes of a leaf that are not the same as before", async () => {
    const routes = new RoutesDir(dir);
    const others = tlsRoute({ slot: 101, hostnames: ["b.example.com"] });
    await apply(routes, tlsRoute(), others);
    const [before, after] = [{ routes: [tlsRoute(), others] }, { routes: [tlsRoute({ generation: 2 }), others] }];
    expect(sameSlots(before, after)).toEqual(new Set([101]));
    for (const name of names()) writeFileSync(path.join(dir, "n", name), "by hand");
    const changed = { routes: [tlsRoute({ generation: 2, affinity: "source" }), others], same: new Set([101]) };
    await applyLeaves(routes, [["0/", changed]]);
    expect([nameOf("n/a.example.com"), nameOf("n/b.example.com")]).toEqual(["100 acme source", "by hand"]);
  });

  it("removes files of an earlier run, half-written ones at once", async () => {
    new RoutesDir(dir);
    writeFileSync(path.join(dir, "n/old.example.com"), "+10.0.0.1:1\n");
    writeFileSync(path.join(dir, "n/half.example.com~"), "+10.");
    const routes = new RoutesDir(dir);
    expect(names()).toEqual(["old.example.com"]);
    await apply(routes, tlsRoute());
    expect(names()).toEqual(["a.example.com"]);
  });

  const refused = (route: Route): Route => ({ ...route, backends: { "us-west-2": ["8.8.8.8:53"] } });

  it("does not keep a slot's last good state for another tenant, even if that tenant's route is refused", async () => {
    const routes = new RoutesDir(dir);
    await apply(routes, raw(5, "acme"));
    await apply(routes, refused(raw(5, "globex")));
    expect(readdirSync(path.join(dir, "p"))).toEqual([]);
    expect([routes.serves(5, "acme"), routes.serves(5, "globex")]).toEqual([false, false]);
    await apply(routes, raw(5, "acme"));
    const restarted = new RoutesDir(dir);
    await apply(restarted, refused(raw(5, "globex")));
    expect(readdirSync(path.join(dir, "p"))).toEqual([]);
  });

  it("gives a slot to its next tenant, in any order of buckets", async () => {
    for (const order of [
      [0, 1],
      [1, 0],
    ]) {
      const routes = new RoutesDir(dir);
      const bucket = (...list: Route[]) => ({ routes: list });
      await applyLeaves(
        routes,
        new Map([
          ["0/", bucket(raw(5, "acme"))],
          ["1/", bucket()],
        ]),
      );
      const next = [bucket(), bucket(raw(5, "globex"))];
      await applyLeaves(routes, new Map(order.map((at) => [`${at}/`, next[at]!])));
      expect([nameOf("p/10005"), routes.serves(5, "globex"), routes.serves(5, "acme")]).toEqual([
        "5 globex",
        true,
        false,
      ]);
    }
  });

  it("keeps a refused route's last good state when its bucket is divided, and when it is one leaf again", async () => {
    const routes = new RoutesDir(dir);
    const kept = tlsRoute({ slot: 101, tenantId: "acme", hostnames: ["kept.example.com"] });
    const other = tlsRoute({ slot: 102, tenantId: "globex", hostnames: ["other.example.com"] });
    await applyLeaves(routes, new Map([["0/", { routes: [kept, other] }]]));
    const divided = new Map<string, { routes: Route[] }>([
      ["0/", { routes: [] }],
      ["0/3", { routes: [refused(kept)] }],
      ["0/7", { routes: [other] }],
    ]);
    for (const leaves of [divided, new Map([...divided].reverse())]) {
      await applyLeaves(routes, leaves);
      expect([nameOf("n/kept.example.com"), routes.rejected.map(({ slot }) => slot)]).toEqual(["101 acme", [101]]);
      expect([routes.serves(101, "acme"), routes.serves(102, "globex")]).toEqual([true, true]);
    }
    const whole = new Map<string, { routes: Route[] }>([
      ["0/", { routes: [refused(kept), other] }],
      ["0/3", { routes: [] }],
      ["0/7", { routes: [] }],
    ]);
    await applyLeaves(routes, whole);
    expect([nameOf("n/kept.example.com"), nameOf("n/other.example.com")]).toEqual(["101 acme", "102 globex"]);
    expect(routes.rejected).toHaveLength(1);
  });

  it("gives a moved name to its new tenant, even if the old tenant's route is refused", async () => {
    const routes = new RoutesDir(dir);
    await apply(routes, tlsRoute({ slot: 101, tenantId: "acme", hostnames: ["x.example.com", "kept.example.com"] }));
    const globex = tlsRoute({ slot: 100, tenantId: "globex", hostnames: ["x.example.com"] });
    const acme = refused(tlsRoute({ slot: 101, tenantId: "acme", hostnames: ["kept.example.com"] }));
    await applyLeaves(
      routes,
      new Map([
        ["1/", { routes: [globex] }],
        ["0/", { routes: [acme] }],
      ]),
    ); // tenants have buckets of their own
    expect([nameOf("n/x.example.com"), nameOf("n/kept.example.com")]).toEqual(["100 globex", "101 acme"]);
    await applyLeaves(
      routes,
      new Map([
        ["0/", { routes: [acme] }],
        ["1/", { routes: [globex] }],
      ]),
    );
    expect(nameOf("n/x.example.com")).toBe("100 globex");
  });

  it("leaves nothing of a snapshot that failed halfway and was replaced", async () => {
    const routes = new RoutesDir(dir);
    await apply(routes, tlsRoute());
    rmSync(path.join(dir, "w"), { recursive: true }); // like a full disk: writes there fail
    const halfway = tlsRoute({ slot: 101, hostnames: ["ghost.example.com"], wildcards: ["*.acme.com"] });
    await expect(apply(routes, tlsRoute(), halfway)).rejects.toThrow("ENOENT");
    mkdirSync(path.join(dir, "w"));
    await apply(routes, tlsRoute());
    expect(names()).toEqual(["a.example.com"]);
  });

  it("rewrites a route when its backends' health changes, even while a snapshot is being applied", async () => {
    const down = new Set<string>();
    const routes = new RoutesDir(dir, (backend) => !down.has(backend));
    const applied = apply(routes, tlsRoute({ backends: { "us-west-2": ["10.0.0.1:1", "10.0.0.2:1"] } }));
    down.add("10.0.0.1:1");
    routes.refresh(down);
    await applied;
    const content = () => readFileSync(path.join(dir, "n/a.example.com"), "utf8");
    expect(content()).toBe("100 acme\n+10.0.0.2:1\n\n-10.0.0.1:1\n");
    down.clear();
    routes.refresh(["10.0.0.1:1"]);
    expect(content()).toBe("100 acme\n+10.0.0.1:1\n+10.0.0.2:1\n");
  });
});
