import { absent, type TenantRow } from "../admission/tenant-row.ts";

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

function differenceOf(tenant: LedgerTenant, hash: string, owners: Map<string, string>): string | undefined {
  if (tenant.hash !== hash) return `record ${hash.slice(0, 12)}`;
  const { blocked, tenantId } = tenant;
  const free = (claim: string) => [undefined, tenantId].includes(owners.get(claim));
  if (blocked.length > 0 && blocked.every(free)) return "names are free";
  if (tenant.retry && blocked.length === 0 && tenant.state !== "Pending") return "to be tried again";
  if (tenant.admitted > tenant.observed) return "not settled";
  return tenant.admitted > 0 && tenant.served !== "all" ? "not served everywhere" : undefined;
}
