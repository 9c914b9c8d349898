import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { validateRecord } from "../../core/admission/validate.ts";
import { baseOf, claimsOf, namesOf, ownerOf, pointOf, serves } from "../../core/names/claims.ts";
import { grantTo, release } from "../../core/names/decisions.ts";
import { derivedOf } from "../../core/names/derived.ts";
import { ancestorsOf, isWithin, nameFault } from "../../core/names/ownership.ts";
import { addHold, conflictIn, contestInWords, contestOf, type Hold, type Point } from "../../core/names/points.ts";
import { FleetNames } from "../../schemas/fleet.ts";
import { tenantLimits } from "../../schemas/limits.ts";
import type { Route } from "../../schemas/snapshot.ts";
import type { TenantRecord } from "../../schemas/tenant.ts";
import { fleet, record } from "../fixtures/fleet.ts";

describe("nameFault", () => {
  it.each([
    ["tenants.example.com", "belongs to the platform"],
    ["landfall.example.com", "belongs to the platform"],
    ["c1.landfall.example.com", "is below landfall.example.com, which is reserved for endpoints"],
    ["login.tenants.example.com", "is reserved by the platform"],
    ["x.login.tenants.example.com", "is below login.tenants.example.com, which is reserved by the platform"],
    ["example.com", "is above tenants.example.com, which belongs to the platform"],
    ["co.uk", "is a public suffix, which no tenant can own"],
    ["github.io", "is a public suffix, which no tenant can own"],
    ["com", "is above tenants.example.com, which belongs to the platform"],
    ["printer.local", "is not a name of the public DNS"],
    ["teleport.cluster.local", "is in teleport.cluster.local, where all tenants have names that clients derive"],
    ["61.teleport.cluster.local", "is in teleport.cluster.local, where all tenants have names that clients derive"],
    ["cluster.local", "is above teleport.cluster.local, which belongs to the platform"],
  ])("says why no tenant can have %s", (name, fault) => {
    expect(nameFault(name, fleet)).toBe(fault);
  });

  it.each(["acme.tenants.example.com", "a.b.acme.tenants.example.com", "acme.com", "acme.github.io", "x.example.com"])(
    "leaves %s to tenants",
    (name) => {
      expect(nameFault(name, fleet)).toBeUndefined();
    },
  );

  it("leaves names of a private domain that the platform owns to tenants", () => {
    const local = { ...fleet, platformDomains: ["tenants.localhost"], reservedNames: [] };
    expect(nameFault("acme.tenants.localhost", local)).toBeUndefined();
    expect(nameFault("acme.localhost", local)).toBe("is not a name of the public DNS");
  });
});

describe("derivedOf", () => {
  it("gives what clients make of a name, and nothing that is longer than a name can be", () => {
    const { derivedNames } = fleet;
    expect(derivedOf("acme.com", derivedNames)).toEqual([
      "kube-teleport-proxy-alpn.acme.com",
      "61636d652e636f6d.teleport.cluster.local",
    ]);
    const long = `${"a.".repeat(60)}acme.com`;
    expect(derivedOf(long, derivedNames)).toEqual([`kube-teleport-proxy-alpn.${long}`]);
  });

  it("gives names that only the owner of the name could have, or nobody", () => {
    const name = fc.domain().map((text) => text.toLowerCase());
    fc.assert(
      fc.property(name, (name) => {
        for (const derived of derivedOf(name, fleet.derivedNames))
          expect(isWithin(derived, name) || nameFault(derived, fleet) !== undefined).toBe(true);
      }),
    );
  });
});

describe("what a fleet says of names", () => {
  const faults = (changes: object) =>
    FleetNames.safeParse({ ...fleet, ...changes }).error?.issues.map(
      ({ path, message }) => `${path.join(".")} ${message}`,
    );

  it.each([
    ["{name}"],
    ["acme.{name}.com"],
    ["{hex}"],
    ["kube.{hex}"],
    ["{hex}.local"],
    ["{name}{hex}.cluster.local"],
    ["-x.{name}"],
    ["a/{name}"],
    ["kube"],
  ])("refuses %s as a template of derived names", (template) => {
    expect(faults({ derivedNames: [template] })?.join()).toMatch(/^derivedNames\.0 is not a template: write it as /);
  });

  it.each([
    "kube.{name}",
    "a.b.{name}",
    "{name}.mesh.example",
    "{hex}.a.b.example",
    "x.{hex}.mesh.example",
    "_x.{name}",
  ])("takes %s", (template) => {
    expect(faults({ derivedNames: [template] })).toBeUndefined();
  });

  it("refuses a domain that would take the platform's own, where tenants have their names", () => {
    const message =
      "would take tenants.example.com, where tenants have their names: use a domain below it or another one";
    expect(faults({ derivedNames: ["{hex}.example.com"] })).toEqual([`derivedNames.0 ${message}`]);
    expect(faults({ sharedNames: ["tenants.example.com"] })).toEqual([`sharedNames.0 ${message}`]);
    expect(faults({ derivedNames: ["{hex}.mesh.tenants.example.com"] })).toBeUndefined();
  });
});

describe("claimsOf", () => {
  const claims = (hostnames: string[], wildcards: string[] = []) => claimsOf({ hostnames, wildcards }, fleet);

  it("claims each name, and something below every name above it", () => {
    expect(claims(["a.b.acme.com"])).toEqual(["@acme.com", "@b.acme.com", "a.b.acme.com"]);
    expect(claims([], ["*.b.acme.com"])).toEqual(["*.b.acme.com", "@acme.com"]);
  });

  it("claims nothing of what no tenant can have: the platform's domains, what is above them, public suffixes", () => {
    expect(claims(["a.tenants.example.com", "x.example.com", "acme.co.uk"])).toEqual([
      "a.tenants.example.com",
      "acme.co.uk",
      "x.example.com",
    ]);
    expect(claims(["b.a.tenants.example.com"])).toEqual(["@a.tenants.example.com", "b.a.tenants.example.com"]);
  });
});

describe("an operator's decision", () => {
  const grant = { tenantId: "acme", at: 5, by: "arn", why: "a contract" };
  const hold = (tenantId: string, releasedAt?: number): Hold => ({
    tenantId,
    owner: `tenant:${tenantId}`,
    cell: "c1",
    since: 1,
    ...(releasedAt === undefined ? {} : { releasedAt }),
  });
  const point = (parts: Partial<Point>): Point => ({ point: "acme.com", stamp: "1", below: new Map(), ...parts });
  const by = (tenantId: string) => ({ tenantId, owner: `tenant:${tenantId}` });

  it("grants a name, its wildcard and what lies below it to one tenant alone", () => {
    const decided = grantTo("acme.com", undefined, grant);
    if (!decided.ok) throw new Error(decided.reason);
    for (const claim of ["acme.com", "*.acme.com", "@acme.com"]) {
      expect(contestOf(claim, by("acme"), decided.point)).toBeUndefined();
      expect(contestOf(claim, by("globex"), decided.point)?.kind).toBe("grant");
    }
    expect(contestInWords(contestOf("@acme.com", by("globex"), decided.point)!)).toBe(
      "hostnames: what lies below acme.com is kept for another tenant by the platform's operators",
    );
    expect(contestInWords(contestOf("*.acme.com", by("globex"), decided.point)!)).toBe(
      "wildcards: *.acme.com is kept for another tenant by the platform's operators",
    );
  });

  it("takes nothing from a tenant that has it, and keeps waiting for what was given up", () => {
    expect(grantTo("acme.com", point({ name: hold("globex") }), grant)).toEqual({
      ok: false,
      reason: "globex has acme.com: take it out of the record of globex first",
    });
    expect(grantTo("acme.com", point({ below: new Map([["globex", hold("globex")]]) }), grant)).toEqual({
      ok: false,
      reason: "globex has something below acme.com: take it out of the record of globex first",
    });
    const decided = grantTo("acme.com", point({ name: hold("globex", 3) }), grant);
    if (!decided.ok) throw new Error(decided.reason);
    expect(contestOf("acme.com", by("acme"), decided.point)?.kind).toBe("name");
    expect(contestOf("acme.com", by("globex"), decided.point)?.kind).toBe("grant");
  });

  it("releases a grant and what was given up; what a tenant has is not released", () => {
    const given = point({ name: hold("globex", 3), wildcard: hold("initech"), grant });
    const decided = release("acme.com", given, 9);
    if (!decided.ok) throw new Error(decided.reason);
    expect(decided.point).toEqual({
      point: "acme.com",
      stamp: "release 9",
      name: { ...hold("globex", 3), waivedAt: 9 },
      wildcard: hold("initech"),
      below: new Map(),
    });
    expect(release("acme.com", point({ grant }), 9)).toEqual({ ok: true, point: undefined });
  });

  it.each([
    [undefined, "nobody has acme.com, and it is kept for nobody"],
    [point({ name: hold("globex") }), "globex has it in its record: take it out of the record first"],
    [
      point({ name: { ...hold("globex", 3), waivedAt: 4 } }),
      "acme.com is released already: it is free when no edge can serve it",
    ],
  ])("says why there is nothing to release", (before, reason) => {
    expect(release("acme.com", before, 9)).toEqual({ ok: false, reason });
  });
});

describe("contestOf", () => {
  const hold = (tenantId: string, owner = `tenant:${tenantId}`): Hold => ({ tenantId, owner, cell: "c1", since: 1 });
  const claimant = (tenantId: string, owner = `tenant:${tenantId}`) => ({ tenantId, owner });
  const point = (parts: Partial<Omit<Point, "below">>, ...below: Hold[]): Point => ({
    point: "acme.com",
    stamp: "1",
    ...parts,
    below: new Map(below.map((one) => [one.tenantId, one])),
  });
  const kindOf = (claim: string, by: { tenantId: string; owner: string }, at: Point) => contestOf(claim, by, at)?.kind;

  it("keeps what is below a name, and its wildcard, for the tenant that has the name", () => {
    const taken = point({ name: hold("acme") });
    for (const claim of ["acme.com", "*.acme.com", "@acme.com"]) {
      expect(kindOf(claim, claimant("globex"), taken)).toBe("name");
      expect(kindOf(claim, claimant("acme"), taken)).toBeUndefined();
    }
  });

  it("gives nobody a name or a wildcard above what another tenant has", () => {
    const used = point({}, hold("acme"));
    expect(kindOf("acme.com", claimant("globex"), used)).toBe("below");
    expect(kindOf("*.acme.com", claimant("globex"), used)).toBe("below");
    expect(kindOf("@acme.com", claimant("globex"), used)).toBeUndefined();
  });

  it("shares a zone among the tenants of an account, but no name", () => {
    const prod = point({ name: hold("acme-prod", "account:acme") }, hold("acme-prod", "account:acme"));
    const dev = claimant("acme-dev", "account:acme");
    expect(kindOf("@acme.com", dev, prod)).toBeUndefined();
    expect(kindOf("*.acme.com", dev, prod)).toBeUndefined();
    expect(kindOf("acme.com", dev, prod)).toBe("name");
  });

  it("takes an account for no tenant of the same name", () => {
    const prod = point({ name: hold("acme", "account:globex") });
    expect(kindOf("@acme.com", claimant("globex"), prod)).toBe("name");
  });

  it("takes no more tenants below a name than its item can hold, and says what to do", () => {
    const many = Array.from({ length: tenantLimits.tenantsBelowMax }, (_, index) => hold(`t${index}`));
    const contest = contestOf("@acme.com", claimant("globex"), point({}, ...many));
    expect(contest && contestInWords(contest)).toBe(
      "hostnames: 1000 tenants have names below acme.com already: use a name below another domain, or ask the platform's operators to make acme.com one of the platform's domains",
    );
    expect(kindOf("@acme.com", claimant("t7"), point({}, ...many))).toBeUndefined();
    expect(kindOf("@acme.com", claimant("globex"), point({}, ...many.slice(1)))).toBeUndefined();
  });

  it("counts what was given up as held", () => {
    const released = point({ wildcard: { ...hold("acme"), releasedAt: 5 } });
    const contest = contestOf("@acme.com", claimant("globex"), released);
    expect(contest && contestInWords(contest)).toBe(
      "hostnames: all names below acme.com belong to the tenant of *.acme.com, which gave it up: it is still reserved for that tenant",
    );
  });
});

describe("serves", () => {
  const route = { hostnames: ["a.b.acme.com"], wildcards: ["*.c.acme.com"] } as Route;
  it.each([
    ["a.b.acme.com", true],
    ["b.acme.com", false],
    ["*.c.acme.com", true],
    ["*.b.acme.com", false],
    ["@acme.com", true],
    ["@b.acme.com", true],
    ["@c.acme.com", false],
    ["@a.b.acme.com", false],
    ["@me.com", false],
  ])("knows of %s: %s", (claim, expected) => {
    expect(serves(route, claim)).toBe(expected);
  });
});

/** The spellings of a name that mean the same: case, a trailing dot, IDNA. */
const spelled = (name: string) =>
  fc.tuple(fc.boolean(), fc.boolean(), fc.boolean()).map(([upper, dot, unicode]) => {
    const text = unicode ? name.replaceAll("xn--mnchen-3ya", "münchen") : name;
    return `${upper ? text.toUpperCase() : text}${dot ? "." : ""}`;
  });
const label = fc.constantFrom("a", "b", "xn--mnchen-3ya");
const nameIn = fc
  .tuple(
    fc.array(label, { maxLength: 3 }),
    fc.constantFrom("one.com", "two.co.uk", "tenants.example.com", "example.com", "login.tenants.example.com", "com"),
  )
  .map(([labels, zone]) => [...labels, zone].join("."));
const someNames = (max: number, prefix = "") =>
  fc.array(
    nameIn.chain(spelled).map((name) => `${prefix}${name}`),
    { maxLength: max },
  );
const wish = fc.record({
  tenantId: fc.constantFrom("ash", "birch", "cedar"),
  account: fc.constantFrom(undefined, "first", "second", "ash"),
  hostnames: someNames(3),
  wildcards: someNames(2, "*."),
});

/** Admits wishes in turn, each tenant's last one, as the ledger does. */
function admitted(
  wishes: { tenantId: string; account: string | undefined; hostnames: string[]; wildcards: string[] }[],
) {
  const points = new Map<string, Point>();
  const have = new Map<string, TenantRecord>();
  for (const { account, ...rest } of wishes) {
    if (have.has(rest.tenantId)) continue;
    const input = record({ ...rest, ...(account === undefined ? {} : { account }) });
    const validated = validateRecord(input, fleet);
    if (!validated.ok) continue;
    const { tenantId } = rest;
    const owner = ownerOf(validated.record);
    const claims = claimsOf(validated.record, fleet);
    if (claims.some((claim) => contestOf(claim, { tenantId, owner }, points.get(pointOf(claim))))) continue;
    for (const claim of claims) addHold(points, claim, { tenantId, owner, cell: "c1", since: 1 }, tenantId);
    have.set(tenantId, validated.record);
  }
  return { points, tenants: [...have.values()] };
}

describe("law 2", () => {
  const histories = fc.array(wish, { minLength: 2, maxLength: 8 });

  it("2a: a name has at most one tenant, however it is written", () => {
    fc.assert(
      fc.property(histories, (wishes) => {
        const all = admitted(wishes).tenants.flatMap(namesOf);
        expect(new Set(all).size).toBe(all.length);
        for (const name of all) expect(name).toMatch(/^(\*\.)?[a-z0-9.-]+[a-z]$/);
      }),
    );
  });

  it("2b: nobody outside a tenant's account has a name or a wildcard below one of its names, at any depth", () => {
    fc.assert(
      fc.property(histories, (wishes) => {
        const { tenants, points } = admitted(wishes);
        for (const one of tenants)
          for (const other of tenants)
            if (ownerOf(one) !== ownerOf(other))
              for (const name of namesOf(one).map(baseOf))
                for (const below of namesOf(other).map(baseOf)) expect(isWithin(below, name)).toBe(false);
        for (const point of points.values()) expect(conflictIn(point)).toBeUndefined();
      }),
    );
  });

  it("2c: nobody has the platform's, the endpoints' or a reserved name, nor one above, nor one below the last two", () => {
    fc.assert(
      fc.property(histories, (wishes) => {
        const owned = [...fleet.platformDomains, fleet.endpointDomain, ...fleet.reservedNames];
        for (const name of admitted(wishes).tenants.flatMap(namesOf).map(baseOf)) {
          for (const other of owned) expect(isWithin(other, name)).toBe(false);
          for (const other of [fleet.endpointDomain, ...fleet.reservedNames]) expect(isWithin(name, other)).toBe(false);
        }
      }),
    );
  });

  it("lets every tenant have what nobody else's names touch", () => {
    const { tenants } = admitted(
      ["ash", "birch", "cedar"].map((id) => ({
        tenantId: id,
        account: undefined,
        hostnames: [`${id}.com`],
        wildcards: [`*.${id}.com`],
      })),
    );
    expect(tenants).toHaveLength(3);
    expect(ancestorsOf("a.b.ash.com")).toEqual(["b.ash.com", "ash.com"]);
  });
});
