import type { Cell } from "../../schemas/fleet.ts";
import type { Route } from "../../schemas/snapshot.ts";
import type { TenantRecord } from "../../schemas/tenant.ts";
import { routesOf } from "../routes/routes.ts";

/**
 * A tenant as the ledger stores it. `version` counts writes of the row and guards them; `generation` counts changes of
 * the record. `admitted` is the last record that passed: edges keep serving it while a newer record is rejected.
 */
export interface TenantRow {
  tenantId: string;
  version: number;
  generation: number;
  /** Canonical hash of the last evaluated record, or `absent`. */
  hash: string;
  /** The record must be evaluated again although it did not change: it was refused for a temporary cause. */
  retry?: true;
  /** The record itself was refused: it is evaluated again when the fleet says otherwise. */
  invalid?: true;
  state: "Admitted" | "Suspended" | "Rejected" | "Pending" | "Removed";
  reasons: string[];
  cell: string;
  /** Protocol to slot number. A slot stays with its tenant and protocol through edits, suspension and re-creation. */
  slots: Record<string, number>;
  /** Slots that were reserved for the tenant and not taken, because its record was refused. */
  spare?: number[];
  /** The tenant's claims, in order: names, wildcards, and what is above them (`names/claims.ts`). */
  claims: string[];
  admitted?: { generation: number; record: TenantRecord };
  /** Claims of other tenants, for which the record was refused. */
  blocked?: string[];
  /** Names that the record may have once they are shown to be the tenant's. */
  unproven?: string[];
  /** Of a removed tenant: no record of it was admitted since it was created. */
  neverAdmitted?: true;
  /** The batch that wrote the row. It has the trace. */
  batchId?: string;
  /** When the row was written, milliseconds since 1970. */
  at: number;
}

export const absent = "absent";

/** The tenant's routes in its cell: those of the record that was admitted last. */
export const admittedRoutes = ({ admitted, slots }: Pick<TenantRow, "admitted" | "slots">, cell: Cell): Route[] =>
  admitted === undefined ? [] : routesOf(admitted.record, admitted.generation, slots, cell);
