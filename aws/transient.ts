/** Whether an AWS call failed in a way that passes: throttled, the service's own fault, or the way to it. */
export function isTransient(error: unknown): boolean {
  const { $retryable, $fault, code, name } = error as {
    $retryable?: unknown;
    $fault?: string;
    code?: string;
    name?: string;
  };
  return $retryable !== undefined || $fault === "server" || name === "TimeoutError" || /^E[A-Z]+$/.test(code ?? "");
}
