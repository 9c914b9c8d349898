/** One attempt to admit a batch, and how far the batch is after it. */
import type { ChangedTenant } from "../publishing/changes.ts";
import type { Outcome, Reservation } from "../rollout/batch.ts";

/** What an attempt did with one tenant. */
export interface Processed {
  tenantId: string;
  /** Slots that were reserved for it, and where. */
  reservation: Reservation;
  /** What was decided and written; `deferred` when the row changed meanwhile or a call failed in a way that passes. */
  outcome: Outcome | "deferred";
  /** The record changed between the read and the write, so that it has to be read again. */
  changed: boolean;
}

export interface Attempt {
  /** Outcomes of earlier attempts, which hold. */
  earlier: Outcome[];
  /** Every other tenant of the batch. */
  processed: Processed[];
}

export interface Progress {
  /** Tenants that are done with, in order of the attempts. */
  outcomes: Outcome[];
  /** Tenants that the next attempt processes. */
  deferred: string[];
  /** Slots that stay reserved for deferred tenants. What was written for a tenant holds its slots by itself. */
  reserved: Record<string, Reservation>;
  /** Cells whose routes this attempt changed, in order, each with all tenants of the batch that live there. */
  dirty: { cell: string; tenants: ChangedTenant[] }[];
}

export function progressOf({ earlier, processed }: Attempt): Progress {
  const written = processed.flatMap(({ outcome }) => (outcome === "deferred" ? [] : [outcome]));
  const isDone = ({ outcome, changed }: Processed) => outcome !== "deferred" && !changed;
  const deferred = processed.filter((one) => !isDone(one));
  const touched = [...new Set(written.filter(isKnown).map(({ cell }) => cell))].sort();
  return {
    outcomes: [...earlier, ...processed.filter(isDone).map(({ outcome }) => outcome as Outcome)],
    deferred: deferred.map(({ tenantId }) => tenantId),
    reserved: Object.fromEntries(
      deferred
        .filter(({ outcome }) => outcome === "deferred")
        .map(({ tenantId, reservation }) => [tenantId, reservation]),
    ),
    dirty: touched.map((cell) => ({
      cell,
      tenants: [...earlier, ...written]
        .filter((outcome) => isKnown(outcome) && outcome.cell === cell)
        .map(({ tenantId, slots }) => ({ tenantId, slots })),
    })),
  };
}

/** Neither a record nor a row: nothing of such a tenant is published. */
const isKnown = ({ state }: Outcome) => state !== "none";
