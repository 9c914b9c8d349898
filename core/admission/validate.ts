import ipaddr from "ipaddr.js";
import { getPublicSuffix } from "tldts";
import type { Fleet } from "../../schemas/fleet.ts";
import { tenantLimits } from "../../schemas/limits.ts";
import { parseTenantRecord, type TenantRecord } from "../../schemas/tenant.ts";
import { canonicalJson, plain } from "../canonical.ts";

/** A name below which anyone may register, such as `com`, `co.uk` or `github.io`. */
export const isPublicSuffix = (name: string) => getPublicSuffix(name, { allowPrivateDomains: true }) === name;

export type Validated = { ok: true; record: TenantRecord } | { ok: false; reasons: string[] };

/**
 * Kinds of addresses that are never backends, even inside the fleet's ranges: unspecified, link-local and metadata,
 * multicast, broadcast, and IPv6 forms of IPv4 addresses, which would bypass the ranges.
 */
const forbiddenKinds = new Set([
  "unspecified",
  "linkLocal",
  "multicast",
  "broadcast",
  "ipv4Mapped",
  "rfc6145",
  "rfc6052",
  "6to4",
  "teredo",
  "reserved",
]);
/** EC2's own services at unique-local addresses: metadata, DNS, time. */
const instanceServices = ipaddr.parseCIDR("fd00:ec2::/64");

/** Suffixes outside the public DNS (RFC 6761, 6762, 7686, 8375, 9476): users could not reach such names. */
const reservedSuffixes = ["localhost", "local", "internal", "invalid", "onion", "arpa", "alt"];

/** The parsed record, or every reason why it can't be served. `edges` are addresses of edges. */
export function validateRecord(input: unknown, fleet: Fleet, edges: ReadonlySet<string> = new Set()): Validated {
  const bytes = Buffer.byteLength(canonicalJson(plain(input)) ?? "");
  if (bytes > tenantLimits.recordBytesMax)
    return {
      ok: false,
      reasons: [`record: is ${bytes} bytes of JSON, at most ${tenantLimits.recordBytesMax} are allowed`],
    };
  const parsed = parseTenantRecord(input);
  const record = parsed.ok ? parsed.record : parsed.readable;
  const faults = [...regionFaults(record, fleet), ...addressFaults(record, fleet, edges), ...nameFaults(record, fleet)];
  const reasons = parsed.ok ? faults : [...parsed.reasons, ...faults];
  return parsed.ok && reasons.length === 0 ? parsed : { ok: false, reasons: reasons.sort() };
}

function regionFaults(record: Partial<TenantRecord>, fleet: Fleet): string[] {
  const known = Object.keys(fleet.nearest).sort();
  const unknown = (region: string) => `is not a region of this fleet: use one of ${known.join(", ")} (got ${region})`;
  const faults = Object.keys(record.backends ?? {})
    .filter((region) => !known.includes(region))
    .map((region) => `backends.${region}: ${unknown(region)}`);
  if (record.homeRegion !== undefined && !known.includes(record.homeRegion))
    faults.push(`homeRegion: ${unknown(record.homeRegion)}`);
  return faults;
}

function addressFaults(record: Partial<TenantRecord>, fleet: Fleet, edges: ReadonlySet<string>): string[] {
  const ranges = fleet.backendRanges.map((range) => ipaddr.parseCIDR(range));
  const faults: string[] = [];
  for (const [region, addresses] of Object.entries(record.backends ?? {}))
    addresses.forEach((text, index) => {
      const address = ipaddr.parse(text);
      const at = `backends.${region}[${index}]: ${text}`;
      const inside = ranges.some(([base, bits]) => base.kind() === address.kind() && address.match(base, bits));
      if (forbiddenKinds.has(address.range())) faults.push(`${at} is a ${address.range()} address and never a backend`);
      else if (address.kind() === "ipv6" && address.match(instanceServices))
        faults.push(`${at} is a service of EC2 itself and never a backend`);
      else if (edges.has(text)) faults.push(`${at} is an edge of Landfall: the edge would connect to itself`);
      else if (!inside)
        faults.push(`${at} is outside the ranges this fleet allows (${fleet.backendRanges.join(", ")})`);
    });
  return faults;
}

function nameFaults(record: Partial<TenantRecord>, fleet: Fleet): string[] {
  const faults: string[] = [];
  const owned = [...fleet.platformDomains, fleet.endpointDomain];
  record.hostnames?.forEach((name, index) => {
    if (owned.includes(name)) faults.push(`hostnames[${index}]: ${name} belongs to the platform`);
    else if (fleet.reservedNames.includes(name))
      faults.push(`hostnames[${index}]: ${name} is reserved by the platform`);
    if (isReserved(name, owned)) faults.push(`hostnames[${index}]: ${name} is not a name of the public DNS`);
    if (name.endsWith(`.${fleet.endpointDomain}`))
      faults.push(`hostnames[${index}]: names below ${fleet.endpointDomain} are reserved for endpoints`);
  });
  record.hostnames?.forEach((name, index) => {
    if (isPublicSuffix(name)) faults.push(`hostnames[${index}]: ${name} is a public suffix, which no tenant can own`);
  });
  const parent = record.wildcard?.slice(2);
  if (parent !== undefined && isReserved(parent, owned))
    faults.push(`wildcard: ${record.wildcard} is not a name of the public DNS`);
  if (parent !== undefined && isPublicSuffix(parent))
    faults.push(`wildcard: ${record.wildcard} covers a public suffix, which no tenant can own`);
  if (parent !== undefined && owned.some((domain) => parent === domain || parent.endsWith(`.${domain}`)))
    faults.push(`wildcard: ${record.wildcard} is below a domain of the platform, where wildcards are not allowed`);
  return faults;
}

const isReserved = (name: string, owned: string[]) =>
  reservedSuffixes.some((suffix) => name === suffix || name.endsWith(`.${suffix}`)) &&
  !owned.some((domain) => name.endsWith(`.${domain}`));
