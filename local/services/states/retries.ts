import type { Retrier } from "./language.ts";

/** Whether a list of ErrorEquals matches an error, by name or by wildcard. */
export function matchesError(names: string[], error: string): boolean {
  const terminal = error === "States.DataLimitExceeded" || error === "States.Runtime";
  return names.some(
    (name) =>
      name === error ||
      (name === "States.ALL" && !terminal) ||
      (name === "States.TaskFailed" &&
        error !== "States.Timeout" &&
        error !== "States.HeartbeatTimeout" &&
        !terminal) ||
      (name === "States.Timeout" && error === "States.HeartbeatTimeout"),
  );
}

/** Counts the attempts of each retrier separately, from entering a state until leaving it. */
export class Retries {
  readonly #retriers: Retrier[];
  readonly #attempts = new Map<Retrier, number>();
  readonly #random: () => number;

  constructor(retriers: Retrier[] = [], random: () => number = Math.random) {
    this.#retriers = retriers;
    this.#random = random;
  }

  /** Milliseconds to wait before the next attempt; undefined if there is no next attempt. */
  next(error: string): number | undefined {
    const retrier = this.#retriers.find(({ ErrorEquals }) => matchesError(ErrorEquals, error));
    if (retrier === undefined) return undefined;
    const done = this.#attempts.get(retrier) ?? 0;
    const {
      IntervalSeconds = 1,
      MaxAttempts = 3,
      BackoffRate = 2,
      MaxDelaySeconds = Number.POSITIVE_INFINITY,
      JitterStrategy = "NONE",
    } = retrier;
    if (done >= MaxAttempts) return undefined;
    this.#attempts.set(retrier, done + 1);
    const seconds = Math.min(IntervalSeconds * BackoffRate ** done, MaxDelaySeconds);
    return (JitterStrategy === "FULL" ? seconds * this.#random() : seconds) * 1000;
  }
}
