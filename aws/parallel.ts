import { clientLimits } from "../schemas/limits.ts";

/** Runs `run` for all items and returns the results in order. Throws the first failure after all items have run. */
export async function inParallel<T, R>(items: T[], run: (item: T) => Promise<R>): Promise<R[]> {
  const results = new Array<R>(items.length);
  const failures: unknown[] = [];
  let next = 0;
  const worker = async () => {
    for (let index = next++; index < items.length; index = next++)
      try {
        results[index] = await run(items[index]!);
      } catch (error) {
        failures.push(error);
      }
  };
  await Promise.all(Array.from({ length: Math.min(clientLimits.parallelCallsMax, items.length) }, worker));
  if (failures.length > 0) throw failures[0];
  return results;
}

/** The items in slices of at most `size`, in order. */
export const slicesOf = <T>(items: T[], size: number): T[][] =>
  Array.from({ length: Math.ceil(items.length / size) }, (_, index) => items.slice(index * size, (index + 1) * size));
