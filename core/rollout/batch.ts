/** A batch: tenants whose records changed, on their way through one rollout. */
import { rolloutLimits } from "../../schemas/limits.ts";
import type { Reserved } from "../slots/pools.ts";

/** What admission decided for a tenant: the state of its row, and the generation that this batch waits for. */
export interface Outcome {
  tenantId: string;
  /** A state of `TenantRow`, or `none` for a tenant with neither a record nor a row. */
  state: string;
  generation: number;
  /** The generation that is served, where it differs: a refused change leaves the earlier one in place. */
  admitted?: number;
  cell: string;
  /** Every slot of the tenant, with a route or without. */
  slots: number[];
}

/** Slots by protocol that are reserved for a tenant in a cell. */
export interface Reservation {
  cell: string;
  slots: Record<string, Reserved>;
}

export interface Batch {
  tenantIds: string[];
  startedAt: number;
  /** The stream's sequence number of each tenant's last record, in the order of the ids; empty for the audit's batches. */
  sequences: string[];
  outcomes?: Outcome[];
  /** Slots reserved for tenants that are not admitted yet. */
  reserved?: Record<string, Reservation>;
  admittedAt?: number;
}

/** The name of a batch: that of the delivery, and the batch's number in it. */
export const batchIdOf = (delivery: string, index: number) => `${delivery}-${index}`;
export const deliveryOf = (batchId: string) => batchId.slice(0, batchId.lastIndexOf("-"));

/** The ids in order, in batches that fit one item of the ledger. */
export function chunksOf(tenantIds: string[]): string[][] {
  const { batchTenantsMax, batchIdBytesMax } = rolloutLimits;
  const chunks: string[][] = [];
  let bytes = 0;
  for (const tenantId of tenantIds.toSorted()) {
    const size = Buffer.byteLength(tenantId);
    const last = chunks.at(-1);
    if (last === undefined || last.length >= batchTenantsMax || bytes + size > batchIdBytesMax) {
      chunks.push([tenantId]);
      bytes = size;
    } else {
      last.push(tenantId);
      bytes += size;
    }
  }
  return chunks;
}
