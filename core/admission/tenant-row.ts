import type { TenantRecord } from "../../schemas/tenant.ts";

/**
 * A tenant as the ledger has it. `version` counts writes of the row and guards them; `generation` counts changes of
 * the record. `admitted` is the last record that passed: it goes on being served while a newer one is rejected.
 */
export interface TenantRow {
  tenantId: string;
  version: number;
  generation: number;
  /** Canonical hash of the record last looked at, or `absent`. */
  hash: string;
  /** The record is to be looked at again though it did not change: it was refused for something that passes. */
  retry?: true;
  state: "Admitted" | "Suspended" | "Rejected" | "Pending" | "Removed";
  reasons: string[];
  cell: string;
  /** Protocol to slot number. A slot stays with its tenant and protocol through edits, suspension and re-creation. */
  slots: Record<string, number>;
  /** Numbers reserved for the tenant that no protocol took: its record was refused. */
  spare?: number[];
  /** What is claimed for the tenant, in order: names, the wildcard, zones (`claims.ts`). */
  claims: string[];
  admitted?: { generation: number; record: TenantRecord };
  /** Claims of others that the record was refused for. */
  blocked?: string[];
  /** When the row was written, milliseconds since 1970. */
  at: number;
}

export const absent = "absent";
