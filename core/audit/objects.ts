import { auditLimits } from "../../schemas/limits.ts";

/** The hashes that were referenced at one time. */
export interface References {
  at: number;
  hashes: string[];
}

/**
 * Objects without a reference for seven days: they were put before that, no later note names them, and the notes reach
 * back that far. A publisher puts an object again when it references it, which renews its `putAt`. Nothing is deleted
 * while it is not known what is `referenced`.
 */
export function objectsToDelete(
  objects: { hash: string; putAt: number }[],
  referenced: string[] | undefined,
  notes: References[],
  now: number,
): string[] {
  const since = now - auditLimits.objectKeepMs;
  if (referenced === undefined || !notes.some(({ at }) => at <= since)) return [];
  const alive = new Set([...referenced, ...notes.filter(({ at }) => at >= since).flatMap(({ hashes }) => hashes)]);
  return objects
    .filter(({ hash, putAt }) => putAt < since && !alive.has(hash))
    .map(({ hash }) => hash)
    .sort();
}
