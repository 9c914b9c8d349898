import { auditLimits } from "../../schemas/limits.ts";
import { absent, type TenantRow } from "../admission/tenant-row.ts";
import { kindOf, type SlotKind, slotKinds } from "../slots/numbering.ts";
import type { CellRoom } from "../slots/placement.ts";

/** A tenant as the ledger has it, as far as an audit compares it. */
export interface LedgerTenant {
  tenantId: string;
  version: number;
  hash: string;
  state: TenantRow["state"];
  retry: boolean;
  blocked: string[];
  /** The generation that edges should serve, and what the last settled status says. */
  admitted: number;
  observed: number;
  served: string;
}

/**
 * Tenants whose record, row and status do not agree, and how: work that was lost, failed for good, or never settled.
 * `hashes` are the records' canonical hashes, `owners` who has each claim.
 */
export function tenantDifferences(
  hashes: Map<string, string>,
  tenants: Map<string, LedgerTenant>,
  owners: Map<string, string>,
): Map<string, string> {
  const found = new Map<string, string>();
  for (const [tenantId, hash] of hashes)
    if (!tenants.has(tenantId)) found.set(tenantId, `unknown ${hash.slice(0, 12)}`);
  for (const tenant of tenants.values()) {
    const how = differenceOf(tenant, hashes.get(tenant.tenantId) ?? absent, owners);
    if (how !== undefined) found.set(tenant.tenantId, `${how} ${tenant.version}`);
  }
  return found;
}

/** A tenant that waits for room: what its record wants, and what it has. */
export interface PendingTenant {
  tenantId: string;
  cell: string;
  protocols: string[];
  slots: Record<string, number>;
}

/** Pending tenants for all of whose missing slots some cell has room: its own, once it has slots there. */
export function admissible(pending: PendingTenant[], rooms: CellRoom[]): string[] {
  const fits = ({ cell: own, protocols, slots }: PendingTenant) => {
    const missing = protocols.filter((protocol) => !Object.hasOwn(slots, protocol));
    const cells = rooms.filter(({ cell }) => Object.keys(slots).length === 0 || cell.name === own);
    const wanted = (kind: SlotKind) => missing.filter((protocol) => kindOf(protocol) === kind).length;
    return cells.some(({ room }) => slotKinds.every((kind) => room[kind] >= wanted(kind)));
  };
  return pending
    .filter(fits)
    .map(({ tenantId }) => tenantId)
    .sort()
    .slice(0, auditLimits.pendingTriedMax);
}

function differenceOf(tenant: LedgerTenant, hash: string, owners: Map<string, string>): string | undefined {
  if (tenant.hash !== hash) return `record ${hash.slice(0, 12)}`;
  const { blocked, tenantId } = tenant;
  const free = (claim: string) => [undefined, tenantId].includes(owners.get(claim));
  if (blocked.length > 0 && blocked.every(free)) return "names are free";
  if (tenant.retry && blocked.length === 0 && tenant.state !== "Pending") return "to be tried again";
  if (tenant.admitted > tenant.observed) return "not settled";
  return tenant.admitted > 0 && tenant.served !== "all" ? "not served everywhere" : undefined;
}
