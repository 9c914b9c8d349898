/** One attempt to admit a batch, and the batch's progress after it. */
import type { ChangedTenant } from "../publishing/changes.ts";
import type { Outcome, Reservation } from "../rollout/batch.ts";

/** What an attempt did with one tenant. */
export interface Processed {
  tenantId: string;
  /** Slots that were reserved for it, and where; undefined when there are none. */
  reservation: Reservation | undefined;
  /** The written decision; `deferred` when the row changed meanwhile or a call failed temporarily. */
  outcome: Outcome | "deferred";
  /** The record changed between the read and the write, so that it has to be read again. */
  changed: boolean;
}

export interface Attempt {
  /** Outcomes of earlier attempts. They remain valid. */
  earlier: Outcome[];
  /** Every other tenant of the batch. */
  processed: Processed[];
}

export interface Progress {
  /** Outcomes of finished tenants, in the order of the attempts. */
  outcomes: Outcome[];
  /** Tenants that the next attempt processes. */
  deferred: string[];
  /** Slots that stay reserved for deferred tenants. A tenant's written row holds its slots itself. */
  reserved: Record<string, Reservation>;
  /** Cells whose routes this attempt changed, in order, each with all tenants of the batch in that cell. */
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
        .flatMap(({ tenantId, reservation }) => (reservation === undefined ? [] : [[tenantId, reservation]])),
    ),
    dirty: touched.map((cell) => ({
      cell,
      tenants: [...earlier, ...written]
        .filter((outcome) => isKnown(outcome) && outcome.cell === cell)
        .map(({ tenantId, slots }) => ({ tenantId, slots })),
    })),
  };
}

/** A tenant with neither a record nor a row is unknown: nothing is published for it. */
const isKnown = ({ state }: Outcome) => state !== "none";
