import type { Cell } from "../../schemas/fleet.ts";
import { bucketCount, type Route } from "../../schemas/snapshot.ts";
import type { TenantRecord } from "../../schemas/tenant.ts";

const compare = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);

/** Which of the 64 route buckets holds a tenant's routes: FNV-1a of its id, so that neighbours in name are spread. */
export function bucketOf(tenantId: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < tenantId.length; i++) hash = Math.imul(hash ^ tenantId.charCodeAt(i), 0x01000193) >>> 0;
  return hash % bucketCount;
}

export const isRaw = (protocol: string) => protocol !== "tls";

const withPort = (address: string, port: number) =>
  address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;

/** The routes that serve a record, in slot order. A suspended tenant has none. Without multiRegion only home serves. */
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
      const names = { hostnames: [...record.hostnames].sort(compare) };
      return record.wildcard === undefined ? { ...base, ...names } : { ...base, ...names, wildcard: record.wildcard };
    })
    .sort((a, b) => a.slot - b.slot);
}
