import { describe, expect, it } from "vitest";
import type { TenantRow } from "../../core/admission/tenant-row.ts";
import type { Claimed, Hold } from "../../core/names/points.ts";
import { claimsBy, planPoints, planRebuild, type RebuildFacts } from "../../core/publishing/rebuild.ts";
import { routesOf } from "../../core/routes/routes.ts";
import { cell, fleet, record } from "../fixtures/fleet.ts";

const now = 10_000_000;
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
  const facts: RebuildFacts = {
    cell,
    routes: [route("acme", 4, 9)],
    rows: [row("acme", { ssh: 2 }), row("gone", { ssh: 4 })],
    taken: { raw: 3, tls: 0 },
    recent: [],
    claimedElsewhere: [],
    rules: fleet,
    now,
  };
  const plan = planRebuild(facts);

  it("gives each served slot to its served tenant, and accounts for every slot below the counter", () => {
    expect(plan.slots).toEqual([{ slot: 4, tenantId: "acme", protocol: "ssh", givenUp: false }]);
    expect(plan.taken).toEqual({ raw: 5, tls: 0 });
    expect(plan.unknown).toEqual([0, 1, 2, 3]);
  });
  it("learns a protocol's settings and the client addresses from the routes", () => {
    const protocols = {
      tls: { port: 3080, affinity: "source" as const },
      ssh: { port: 22, proxyProtocol: "v2" as const },
      pg: { port: 5432, alpn: "postgresql", proxyProtocol: "v1" as const },
    };
    const given = record({ protocols, allow: ["203.0.113.0/24"] });
    const routes = routesOf(given, 3, { tls: 20_000, ssh: 7 }, cell);
    const { rows } = planRebuild({ ...facts, routes, rows: [] });
    const [row] = rows;
    expect(routesOf(row!.admitted!.record, 3, row!.slots, cell)).toEqual(routes);
  });
  it("never lowers a generation, and makes admission process every record again", () => {
    expect(plan.rows.map(({ tenantId, generation, hash, slots }) => [tenantId, generation, hash, slots])).toEqual([
      ["acme", 9, "rebuilt", { ssh: 4 }],
      ["gone", 1, "rebuilt", {}],
    ]);
    expect(plan.rows.map(({ admitted }) => admitted?.generation)).toEqual([9, undefined]);
  });
  it("takes no tenant for admitted that is not served: its next record may be refused", () => {
    const { rows, slots } = planRebuild({ ...facts, taken: { raw: 9, tls: 0 }, rows: [row("late", { ssh: 8 })] });
    expect(rows.find(({ tenantId }) => tenantId === "late")).toMatchObject({ slots: { ssh: 8 } });
    expect(rows.find(({ tenantId }) => tenantId === "late")).not.toHaveProperty("admitted");
    expect(slots).toContainEqual({ slot: 8, tenantId: "late", protocol: "ssh", givenUp: true });
  });
  it("gives a tenant no slot twice, if the ledger has it for another protocol than the one that is served", () => {
    const { rows } = planRebuild({ ...facts, rows: [row("acme", { mysql: 4, postgres: 2 })] });
    expect(rows.find(({ tenantId }) => tenantId === "acme")?.slots).toEqual({ postgres: 2, ssh: 4 });
  });
  it("takes names from a tenant that another cell's tenant is served with", () => {
    const name = "late.example.org";
    const elsewhere = claimsBy([{ ...route("other", 1), protocol: "tls", hostnames: [name] }], fleet);
    expect(elsewhere).toContainEqual({ claim: name, tenantId: "other", owner: "tenant:other" });
    const claimsWith = (claimedElsewhere: Claimed[]) =>
      planRebuild({ ...facts, claimedElsewhere, rows: [row("late", { ssh: 8 })] }).claims.map(({ claim }) => claim);
    expect(claimsWith([])).toContain(name);
    expect(claimsWith(elsewhere)).not.toContain(name);
    const above = claimsBy([{ ...route("other", 1), protocol: "tls", hostnames: ["x.late.example.org"] }], fleet);
    expect(claimsWith(above)).not.toContain(name);
  });
  it("gives nobody a slot or a name that was published for another tenant since the backup", () => {
    const tls = { ...route("fresh", 20_003), protocol: "tls", hostnames: ["late.example.org"] };
    const recent = [route("fresh", 8), tls];
    const late = { ...facts, recent, rows: [row("late", { ssh: 8 })] };
    const after = planRebuild(late);
    expect(after.rows.find(({ tenantId }) => tenantId === "late")).toMatchObject({ slots: {}, claims: [] });
    expect(after.taken).toEqual({ raw: 9, tls: 4 });
    expect(after.unknown).toEqual([0, 1, 2, 3, 5, 6, 7, 8, 20_000, 20_001, 20_002, 20_003]);
  });
});

describe("planPoints", () => {
  const claim = (tenantId: string, text: string, owner = `tenant:${tenantId}`): Claimed => ({
    claim: text,
    tenantId,
    owner,
  });
  const hold = (tenantId: string, cellName = "c1"): Hold => ({
    tenantId,
    owner: `tenant:${tenantId}`,
    cell: cellName,
    since: 5,
  });
  const none = { cell: "c1", before: [], claims: [], elsewhere: [], recent: [], isHere: () => true, now };

  it("keeps since when a name is held, and reserves what its tenant has no more", () => {
    const before = [{ point: "acme.org", stamp: "1", name: hold("acme"), wildcard: hold("acme"), below: new Map() }];
    const [point, ...others] = planPoints({ ...none, before, claims: [claim("acme", "acme.org")] });
    expect(others).toEqual([]);
    expect(point).toMatchObject({ point: "acme.org", name: hold("acme") });
    expect(point?.name).not.toHaveProperty("releasedAt");
    expect(point?.wildcard).toEqual({ ...hold("acme"), releasedAt: now });
  });

  it("reserves what was published since the backup, unless somebody else is served with it", () => {
    const recent = [claim("fresh", "late.org")];
    expect(planPoints({ ...none, recent })).toMatchObject([
      { point: "late.org", name: { tenantId: "fresh", releasedAt: now } },
    ]);
    expect(planPoints({ ...none, recent, elsewhere: [claim("other", "@late.org")] })).toEqual([]);
    const mine = planPoints({ ...none, recent, claims: [claim("fresh", "late.org")] });
    expect(mine[0]?.name).not.toHaveProperty("releasedAt");
  });

  it("gives a name to the tenant that was published with it last, not to the one that the backup has", () => {
    const recent = [claim("last", "acme.org"), claim("first", "acme.org")];
    for (const cellName of ["c1", "c2"]) {
      const before = [{ point: "acme.org", stamp: "1", name: hold("first", cellName), below: new Map() }];
      expect(planPoints({ ...none, before, recent })).toMatchObject([{ name: { tenantId: "last", releasedAt: now } }]);
    }
    const before = [{ point: "acme.org", stamp: "1", name: hold("first"), below: new Map() }];
    expect(planPoints({ ...none, before, recent, isHere: (tenantId) => tenantId === "first" })).toEqual([]);
  });

  it("takes over what its own tenant holds in another cell, where it was before, or was kept for a while", () => {
    for (const releasedAt of [undefined, 7]) {
      const elsewhere = { ...hold("acme", "c2"), ...(releasedAt === undefined ? {} : { releasedAt }) };
      const before = [{ point: "acme.org", stamp: "1", name: elsewhere, below: new Map() }];
      const [point] = planPoints({ ...none, before, claims: [claim("acme", "acme.org")] });
      expect(point?.name).toEqual({ ...hold("acme"), cell: "c1" });
    }
  });

  it("leaves holds of other cells as they are, unless what is served excludes them", () => {
    const below = new Map([["beta", hold("beta", "c2")]]);
    const before = [{ point: "acme.org", stamp: "1", below }];
    const [side] = planPoints({ ...none, before, claims: [claim("acme", "@acme.org")] });
    expect([...side!.below.keys()].sort()).toEqual(["acme", "beta"]);
    expect(side!.below.get("beta")).toEqual(hold("beta", "c2"));
    const [alone] = planPoints({ ...none, before, claims: [claim("acme", "acme.org")] });
    expect([alone!.name?.tenantId, alone!.below.size]).toEqual(["acme", 0]);
    expect(planPoints({ ...none, before, claims: [claim("acme", "acme.com")] }).map(({ point }) => point)).toEqual([
      "acme.com",
    ]);
  });
});
