/** Which failures of AWS calls pass by themselves. The SDK's own lists decide, by name: it sets `$retryable` on hardly any. */
import { isServerError, isThrottlingError, isTransientError } from "@smithy/core/retry";

/** Errors of transactions and conditional writes beside others: a later attempt succeeds. */
const conflicts = new Set(["TransactionConflictException", "ConditionalRequestConflict"]);
/** Reasons of a cancelled transaction that pass; `None` stands for the items without one. */
const passing = new Set(["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded", "None"]);
/** Errors for which the content of a call can be the cause. */
const ofContent = new Set(["ValidationException", "TransactionCanceledException", "SerializationException"]);

type Failure = Error & { $metadata?: object; CancellationReasons?: { Code?: string }[] };

/** Whether an AWS call failed in a way that passes: throttled, in conflict, the service's own fault, or the way to it. */
export function isTransient(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const failure = error as Failure;
  if (conflicts.has(failure.name)) return true;
  if (failure.name === "TransactionCanceledException")
    return (failure.CancellationReasons ?? []).every(({ Code = "None" }) => passing.has(Code));
  const sdkError = error as Parameters<typeof isTransientError>[0];
  return isThrottlingError(sdkError) || isTransientError(sdkError) || isServerError(sdkError);
}

/**
 * Whether a failure says nothing about what was to be done: it passes, or it is a matter of the account, such as a missing
 * permission or a table that is not there.
 */
export const isNoVerdict = (error: unknown): boolean =>
  isTransient(error) || (error instanceof Error && "$metadata" in error && !ofContent.has(error.name));
