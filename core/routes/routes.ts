/** The routes that serve a tenant record. */
import type { Cell } from "../../schemas/fleet.ts";
import type { Route, RouteTarget } from "../../schemas/snapshot.ts";
import { settingsOf, type TenantRecord } from "../../schemas/tenant.ts";
import { canonicalJson } from "../canonical.ts";
import { isRaw, slottedIn } from "../slots/numbering.ts";

const compare = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);

const withPort = (address: string, port: number) =>
  address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;

/** The routes of a record, in slot order. A suspended tenant has none. Without multiRegion only the home region serves. */
export function routesOf(record: TenantRecord, generation: number, slots: Record<string, number>, cell: Cell): Route[] {
  if (record.suspended) return [];
  return slottedIn(record)
    .map((protocol) => {
      const slot = Object.hasOwn(slots, protocol) ? slots[protocol] : undefined;
      if (slot === undefined) throw new Error(`tenant ${record.tenantId} has no slot for ${protocol}`);
      const { tenantId, hostnames, wildcards = [], account, allow, sessionLimits } = record;
      const base = {
        slot,
        tenantId,
        protocol,
        generation,
        ...targetOf(record, protocol),
        ...(allow === undefined ? {} : { allow }),
        ...(sessionLimits === undefined ? {} : { sessionLimits }),
      };
      if (isRaw(protocol)) return { ...base, hostnames: [], port: cell.portBase + slot };
      const alpn = alpnOf(record);
      return {
        ...base,
        hostnames: hostnames.toSorted(compare),
        ...(wildcards.length === 0 ? {} : { wildcards: wildcards.toSorted(compare) }),
        ...(account === undefined ? {} : { account }),
        ...(alpn === undefined ? {} : { alpn }),
      };
    })
    .sort((a, b) => a.slot - b.slot);
}

/**
 * Servers of these protocols count connections that say nothing, by address: MySQL locks the address out after a hundred, and
 * OpenSSH since 9.8 after a few. Behind an edge all users have its address.
 */
const uncheckedProtocols = ["mysql", "ssh"];

function targetOf(record: TenantRecord, protocol: string): RouteTarget {
  const settings = settingsOf(record.protocols[protocol]!);
  const { port, proxyProtocol, affinity } = settings;
  const check = settings.check ?? (uncheckedProtocols.includes(protocol) ? "none" : "tcp");
  const regions = Object.entries(record.backends)
    .filter(([region]) => record.multiRegion === true || region === record.homeRegion)
    .sort(([a], [b]) => compare(a, b));
  return {
    backends: Object.fromEntries(regions.map(([region, list]) => [region, list.map((a) => withPort(a, port))])),
    ...(proxyProtocol === undefined ? {} : { proxyProtocol }),
    ...(affinity === undefined ? {} : { affinity }),
    ...(check === "tcp" ? {} : { check }),
  };
}

/** Where clients of the tls slot go that offer one of these entries in ALPN. */
function alpnOf(record: TenantRecord): Record<string, RouteTarget> | undefined {
  const entries = Object.entries(record.protocols).flatMap(([protocol, value]) => {
    const { alpn } = settingsOf(value);
    return alpn === undefined ? [] : [[alpn, targetOf(record, protocol)] as const];
  });
  return entries.length === 0 ? undefined : Object.fromEntries(entries);
}

/** Bytes of a record's routes with the longest slot numbers and generation: never less than what is rendered. */
export function routeBytes(record: TenantRecord, cell: Cell): number {
  const slots = Object.fromEntries(slottedIn(record).map((protocol) => [protocol, 9_999_999]));
  return routesOf(record, Number.MAX_SAFE_INTEGER, slots, cell).reduce(
    (sum, route) => sum + Buffer.byteLength(canonicalJson(route)) + 1,
    0,
  );
}
