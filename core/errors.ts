/** Errors whose names are part of a workflow: a Retry or Catch in stepflows/ matches `name` exactly. */

/** The ledger row changed between reading and writing: read the row and the record again. */
export class RowChangedError extends Error {
  override readonly name = "RowChangedError";
}

/** Another holder has the lease: try later. */
export class LeaseHeldError extends Error {
  override readonly name = "LeaseHeldError";
}

/** The ledger is behind the manifests (restored from a backup): nothing is allocated or published until a rebuild. */
export class LedgerBehindError extends Error {
  override readonly name = "LedgerBehindError";
}

/** No commit covers the batch yet: its publisher died, or publishing is frozen. */
export class NotCoveredError extends Error {
  override readonly name = "NotCoveredError";
}

export const workflowErrors = [RowChangedError, LeaseHeldError, LedgerBehindError, NotCoveredError] as const;
