/** Waits that an abort signal can end. */
import { after } from "../../clock.ts";
import { StatesError } from "./expressions.ts";

/**
 * The first of these to settle, or the signal's reason. No listener stays behind: a signal that is made of others is kept
 * in memory, with all that its listeners refer to, as long as it has one.
 */
export async function unlessAborted<T>(signal: AbortSignal, work: Promise<T>[]): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  const stop = () => aborted.reject(signal.reason);
  if (signal.aborted) stop();
  signal.addEventListener("abort", stop, { once: true });
  try {
    return await Promise.race([...work, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

/** Rejects as soon as a token fails. A token's success counts only after the function has returned. */
export const failing = (answered: Promise<unknown>): Promise<never> =>
  new Promise((_, reject) => answered.catch(reject));

export function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.reject(signal.reason as Error);
  if (!(ms > 0)) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const stop = () => {
      timer.clear();
      reject(signal.reason as Error);
    };
    const timer = after(ms, () => {
      signal.removeEventListener("abort", stop);
      resolve();
    });
    signal.addEventListener("abort", stop, { once: true });
  });
}

/** Runs at most `most` at once. The first failure aborts the others and is thrown. */
export async function together(
  runs: ((signal: AbortSignal) => Promise<unknown>)[],
  most: number,
  outer: AbortSignal,
): Promise<unknown[]> {
  const local = new AbortController();
  const signal = AbortSignal.any([outer, local.signal]);
  const results = new Array<unknown>(runs.length);
  let next = 0;
  const worker = async () => {
    for (let index = next++; index < runs.length; index = next++) results[index] = await runs[index]!(signal);
  };
  const workers = Array.from({ length: Math.min(most, runs.length) }, worker);
  try {
    await Promise.all(workers);
    return results;
  } catch (error) {
    local.abort(new StatesError("States.BranchFailed", "another branch failed"));
    await Promise.allSettled(workers);
    throw error;
  }
}
