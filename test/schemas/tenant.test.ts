import { describe, expect, it } from "vitest";
import { parseTenantRecord } from "../../schemas/tenant.ts";
import { record } from "../fixtures/fleet.ts";

const faults = (changes: object) => {
  const parsed = parseTenantRecord({ ...record(), ...changes });
  return parsed.ok ? [] : parsed.reasons;
};

describe("TenantRecord", () => {
  it("accepts a record, with names in lower case and addresses in canonical form", () => {
    const changes = { hostnames: ["ACME.Example.com."], backends: { "us-west-2": ["FD00:0::1"] } };
    expect(parseTenantRecord(record(changes))).toMatchObject({
      ok: true,
      record: { hostnames: ["acme.example.com"], backends: { "us-west-2": ["fd00::1"] } },
    });
  });

  it.each([
    ["a newline", "a.example.com\n"],
    ["a semicolon", "a.example.com;"],
    ["a brace", "a{.example.com"],
    ["a path to a parent folder", "../etc/passwd"],
    ["a space", "a b.example.com"],
    ["one label", "localhost"],
    ["an empty label", "a..example.com"],
    ["a label that begins with '-'", "-a.example.com"],
    ["more than 253 characters", `${"a.".repeat(127)}com`],
    ["a joiner where IDNA has none", "a\u200db.example.com"],
    ["two ideographic full stops at its end", "acme.example.com\u3002\u3002"],
    ["a percent-encoded dot", "a%2eb.example.com"],
    ["full-width digits that become an address", "\uff11\uff10.0.0.1"],
    ["an IP address", "10.0.0.1"],
    ["a wildcard", "*.example.com"],
    ["NUL", "a\0.example.com"],
  ])("refuses a hostname with %s", (_, name) => {
    expect(faults({ hostnames: [name] }).join()).toMatch(/^hostnames\[0\]: /);
  });

  it.each([
    ["münchen.example.com", "xn--mnchen-3ya.example.com"],
    ["MÜNCHEN.example.com.", "xn--mnchen-3ya.example.com"],
    ["\u212Aelvin.example.com", "kelvin.example.com"],
    ["\uff41cme\u3002example.com", "acme.example.com"],
  ])("keeps %s in its ASCII form", (given, kept) => {
    const parsed = parseTenantRecord(record({ hostnames: [given], wildcards: [`*.${given}`] }));
    expect(parsed).toMatchObject({ ok: true, record: { hostnames: [kept], wildcards: [`*.${kept}`] } });
  });

  it.each([
    ["octal", "010.0.0.1"],
    ["short", "10.1"],
    ["hexadecimal", "0x0a000001"],
    ["a number", "167772161"],
    ["a name of one label", "proxy"],
    ["a name with a port", "proxy.internal:3080"],
    ["an address with a port", "10.0.0.1:80"],
    ["an address with a zone", "fe80::1%eth0"],
    ["an IPv4 address mapped into IPv6", "::ffff:10.0.0.1"],
  ])("refuses a backend that is %s", (_, address) => {
    expect(faults({ backends: { "us-west-2": [address] } }).join()).toMatch(/^backends\.us-west-2\[0\]: /);
  });

  it("reports where each fault is and how to fix it", () => {
    expect(
      faults({ hostnames: "acme.example.com", homeRegion: 5, protocols: { tls: "3080" }, backends: {}, typo: true }),
    ).toEqual([
      "homeRegion: must be a string, not number",
      "hostnames: must be a list, not string",
      "protocols.tls: must be a number, not string",
      'record: Unrecognized key: "typo"',
    ]);
  });

  it("takes a protocol's settings in place of its port", () => {
    const protocols = {
      tls: { port: 3080, proxyProtocol: "v2" as const },
      postgres: { port: 5432, alpn: "postgresql", affinity: "source" as const },
      ssh: 22,
    };
    expect(parseTenantRecord(record({ protocols }))).toMatchObject({ ok: true, record: { protocols } });
  });

  it("takes a backend that is a DNS name, in its ASCII form", () => {
    const parsed = parseTenantRecord(record({ backends: { "us-west-2": ["NLB-1.elb.Example.com.", "10.0.0.1"] } }));
    expect(parsed.ok && parsed.record.backends).toEqual({ "us-west-2": ["nlb-1.elb.example.com", "10.0.0.1"] });
  });

  it.each([
    [{ tls: {} }, "protocols.tls.port: is missing"],
    [{ tls: { port: "1" } }, "protocols.tls.port: must be a number, not string"],
    [{ tls: { port: 70_000 } }, "protocols.tls.port: must be 65535 or less"],
    [{ tls: [3080] }, "protocols.tls: must be a number, not array"],
    [{ tls: { port: 1, proxyProtocol: "v3" } }, "protocols.tls.proxyProtocol: must be v1 or v2"],
    [{ tls: { port: 1, affinity: "cookie" } }, "protocols.tls.affinity: must be source"],
    [{ tls: { port: 1, check: "ping" } }, "protocols.tls.check: must be tcp, tls, none or an http check"],
    [{ tls: { port: 1, check: { type: "http" } } }, "protocols.tls.check.path: is missing"],
    [
      { tls: { port: 1, check: { type: "http", path: "readyz" } } },
      "protocols.tls.check.path: must be a path of at most 256 characters that begins with '/', such as /readyz",
    ],
    [
      { tls: { port: 1, check: { type: "https", path: "/a\r\nHost: x", port: 3000 } } },
      "protocols.tls.check.path: must be a path of at most 256 characters that begins with '/', such as /readyz",
    ],
    [{ tls: { port: 1, Port: 2 } }, 'protocols.tls: Unrecognized key: "Port"'],
    [
      { tls: { port: 1, alpn: "h2" } },
      "protocols.tls.alpn: is for other protocols: tls is what every other client gets",
    ],
    [
      { postgres: { port: 1, alpn: "postgresql" } },
      "protocols.postgres.alpn: needs tls beside it: add the port that every other client at these names gets",
    ],
    [
      { tls: 1, a: { port: 2, alpn: "x" }, b: { port: 3, alpn: "x" } },
      "protocols.b.alpn: x is another protocol's already",
    ],
    [
      { tls: 1, a: { port: 2, alpn: "http/1.1" } },
      "protocols.a.alpn: must be an ALPN entry of letters, 0-9, '.', '_' and '-', such as postgresql",
    ],
  ])("refuses the protocols %j", (protocols, reason) => {
    expect(faults({ protocols })).toEqual([reason]);
  });

  it("keeps client addresses as ranges, from their first address", () => {
    const allow = ["203.0.113.7", "203.0.113.99/24", "2001:DB8::1/32", "::1"];
    expect(parseTenantRecord(record({ allow }))).toMatchObject({
      ok: true,
      record: { allow: ["203.0.113.7/32", "203.0.113.0/24", "2001:db8::/32", "::1/128"] },
    });
  });

  it.each([
    ["203.0.113.0/33"],
    ["10.1/8"],
    ["0x0a.0.0.0/8"],
    ["::ffff:10.0.0.0/104"],
    ["10.0.0.0-10.0.0.9"],
    ["fe80::1%eth0"],
    ["any"],
    [""],
  ])("refuses %j as a range of client addresses", (range) => {
    expect(faults({ allow: [range] }).join()).toMatch(/^allow\[0\]: is /);
  });

  it("takes at most 200 ranges, and not none", () => {
    expect(faults({ allow: Array.from({ length: 201 }, (_, i) => `10.0.${i}.0/24`) })).toEqual([
      "allow: has more than 200 ranges",
    ]);
    expect(faults({ allow: [] })).toEqual([
      "allow: is empty: give at least one range, or leave it out to allow every address",
    ]);
  });

  it("requires addresses in the home region", () => {
    expect(faults({ backends: { "eu-west-3": ["10.0.0.1"] } })).toEqual([
      "backends: has no addresses in the home region us-west-2: add them, or change homeRegion",
    ]);
  });

  it("requires a name for tls, but not for raw protocols", () => {
    expect(faults({ hostnames: [] })).toHaveLength(1);
    expect(faults({ hostnames: [], protocols: { ssh: 22 } })).toEqual([]);
  });

  it("takes a field that is NULL for absent, at any depth, and a set of strings for a list", () => {
    const written = {
      ...record(),
      hostnames: new Set(["b.acme.com", "a.acme.com"]),
      wildcards: null,
      account: null,
      backends: { "us-west-2": new Set(["10.0.1.15"]), "eu-west-3": null },
    };
    const kept = { hostnames: ["a.acme.com", "b.acme.com"], backends: { "us-west-2": ["10.0.1.15"] } };
    expect(parseTenantRecord(written)).toEqual({ ok: true, record: record(kept) });
    expect(faults({ homeRegion: null })).toEqual(["homeRegion: is missing"]);
    expect(faults({ hostnames: new Set([1]) })).toEqual([
      "hostnames: must be a list, not a DynamoDB set: use a list (L)",
    ]);
    expect(faults({ hostnames: ["a.acme.com", null] })).toEqual(["hostnames[1]: must be a string, not null"]);
  });

  it.each([null, undefined, 5, "acme", [], new Set(["acme"])])("refuses %s in place of a record", (input) => {
    expect(parseTenantRecord(input)).toMatchObject({ ok: false, reasons: [expect.stringMatching(/^record: /)] });
  });

  it("takes five wildcards, none of them twice", () => {
    const many = (count: number) => Array.from({ length: count }, (_, index) => `*.w${index}.acme.com`);
    expect(faults({ wildcards: many(5) })).toEqual([]);
    expect(faults({ wildcards: many(6) })).toEqual(["wildcards: has more than 5 wildcards"]);
    expect(faults({ wildcards: ["*.Acme.com.", "*.acme.com"] })).toEqual(["wildcards: names the same wildcard twice"]);
  });

  it("is not confused by __proto__", () => {
    const text = JSON.stringify(record()).replace('"tls":3080', '"__proto__":1,"tls":3080');
    expect(parseTenantRecord(JSON.parse(text))).toMatchObject({
      ok: false,
      reasons: ["record.protocols: has a field named __proto__"],
    });
    const inherited = Object.create({ suspended: true }) as object;
    expect(parseTenantRecord(Object.assign(inherited, record())).ok).toBe(false);
  });
});
