import { auditLimits } from "../../schemas/limits.ts";
import { absent, type TenantRow } from "../admission/tenant-row.ts";
import { kindOf, type SlotKind, slotKinds } from "../slots/numbering.ts";
import { type CellRoom, roomFor } from "../slots/placement.ts";

/** The part of a tenant's ledger state that an audit compares. */
export interface LedgerTenant {
  tenantId: string;
  version: number;
  hash: string;
  state: TenantRow["state"];
  retry: boolean;
  blocked: string[];
  /** The generation that edges should serve, and the generation and result of the last settled status. */
  admitted: number;
  observed: number;
  served: string;
}

/**
 * Tenants whose record, row and status differ, and how: their work was lost, failed for good, or never settled.
 * `hashes` are the canonical hashes of the records; `owners` maps each claim to its tenant.
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

/** A tenant that waits for room, and the protocols of its record. */
export interface PendingTenant extends Pick<TenantRow, "tenantId" | "cell" | "slots" | "spare"> {
  protocols: string[];
}

/** Pending tenants whose missing slots all fit into one cell. A tenant that has slots fits only into its own cell. */
export function admissible(pending: PendingTenant[], rooms: CellRoom[]): string[] {
  const fits = (tenant: PendingTenant) => {
    const { cell: own, protocols, slots } = tenant;
    const missing = protocols.filter((protocol) => !Object.hasOwn(slots, protocol));
    const cells = rooms.filter(({ cell }) => Object.keys(slots).length === 0 || cell.name === own);
    const wanted = (kind: SlotKind) => missing.filter((protocol) => kindOf(protocol) === kind).length;
    return cells.some((cell) => slotKinds.every((kind) => roomFor(tenant, cell, kind) >= wanted(kind)));
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
