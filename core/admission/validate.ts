import ipaddr from "ipaddr.js";
import type { Fleet } from "../../schemas/fleet.ts";
import { tenantLimits } from "../../schemas/limits.ts";
import { parseTenantRecord, type TenantRecord } from "../../schemas/tenant.ts";
import { canonicalJson, plain } from "../canonical.ts";
import { baseOf } from "../names/claims.ts";
import { isWithin, nameFault } from "../names/ownership.ts";

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
  const faults = [
    ...regionFaults(record, fleet),
    ...addressFaults(record, fleet, edges),
    ...nameFaults(record, fleet),
    ...limitFaults(record, fleet),
  ];
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
      if (!ipaddr.isValid(text)) {
        const own = [...fleet.platformDomains, fleet.endpointDomain].find((domain) => isWithin(text, domain));
        if (own !== undefined)
          faults.push(`backends.${region}[${index}]: ${text} is below ${own}: the edge would connect to itself`);
        return; // edges check its addresses
      }
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

function limitFaults({ sessionLimits = {} }: Partial<TenantRecord>, { sessionLimitsMax }: Fleet): string[] {
  return (["open", "newPerSecond"] as const).flatMap((name) => {
    const [asked = 0, most] = [sessionLimits[name], sessionLimitsMax[name]];
    return asked <= most ? [] : [`sessionLimits.${name}: is ${asked}, this fleet allows at most ${most}`];
  });
}

function nameFaults({ hostnames = [], wildcards = [] }: Partial<TenantRecord>, fleet: Fleet): string[] {
  const faultOf = (field: string) => (name: string, index: number) => {
    const base = baseOf(name);
    const fault = nameFault(base, fleet);
    const of = base === name ? "" : `: ${base}`;
    return fault === undefined ? [] : [`${field}[${index}]: ${name}${of} ${fault}`];
  };
  return [...hostnames.flatMap(faultOf("hostnames")), ...wildcards.flatMap(faultOf("wildcards"))];
}
