/** What a function is made from, and how it fails. */

export interface FunctionConfig {
  name: string;
  arn: string;
  /** Bundle file, ESM, with an export `handler`. */
  bundle: string;
  environment: Record<string, string>;
  timeoutSeconds: number;
  memoryMb: number;
  coldStartMs: number;
  logFile: string;
  /** At most this many invocations at the same time; AWS keeps that many free for the function. */
  reservedConcurrency?: number | undefined;
}

export interface FunctionError {
  errorType: string;
  errorMessage: string;
  trace?: string[];
}
