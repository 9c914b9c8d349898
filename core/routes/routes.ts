/** The routes that serve a tenant record. */
import type { Cell } from "../../schemas/fleet.ts";
import type { Route } from "../../schemas/snapshot.ts";
import type { TenantRecord } from "../../schemas/tenant.ts";
import { canonicalJson } from "../canonical.ts";
import { isRaw } from "../slots/numbering.ts";

const compare = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);

const withPort = (address: string, port: number) =>
  address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;

/** The routes of a record, in slot order. A suspended tenant has none. Without multiRegion only the home region serves. */
export function routesOf(record: TenantRecord, generation: number, slots: Record<string, number>, cell: Cell): Route[] {
  if (record.suspended) return [];
  const regions = Object.entries(record.backends)
    .filter(([region]) => record.multiRegion === true || region === record.homeRegion)
    .sort(([a], [b]) => compare(a, b));
  return Object.entries(record.protocols)
    .map(([protocol, port]) => {
      const slot = Object.hasOwn(slots, protocol) ? slots[protocol] : undefined;
      if (slot === undefined) throw new Error(`tenant ${record.tenantId} has no slot for ${protocol}`);
      const backends = Object.fromEntries(
        regions.map(([region, list]) => [region, list.map((a) => withPort(a, port))]),
      );
      const base = { slot, tenantId: record.tenantId, protocol, generation, backends };
      if (isRaw(protocol)) return { ...base, hostnames: [], port: cell.portBase + slot };
      const { hostnames, wildcards = [], account } = record;
      return {
        ...base,
        hostnames: hostnames.toSorted(compare),
        ...(wildcards.length === 0 ? {} : { wildcards: wildcards.toSorted(compare) }),
        ...(account === undefined ? {} : { account }),
      };
    })
    .sort((a, b) => a.slot - b.slot);
}

/** Bytes of a record's routes with the longest slot numbers and generation: never less than what is rendered. */
export function routeBytes(record: TenantRecord, cell: Cell): number {
  const slots = Object.fromEntries(Object.keys(record.protocols).map((protocol) => [protocol, 9_999_999]));
  return routesOf(record, Number.MAX_SAFE_INTEGER, slots, cell).reduce(
    (sum, route) => sum + Buffer.byteLength(canonicalJson(route)) + 1,
    0,
  );
}
