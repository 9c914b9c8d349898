import { auditLimits } from "../../schemas/limits.ts";

/** Hashes that were referenced at a time. */
export interface References {
  at: number;
  hashes: string[];
}

/**
 * Objects that nothing has referenced for seven days: put before, in no note since, and the notes reach back that far. A
 * publisher puts again what it references, which makes an object young.
 */
export function objectsToDelete(
  objects: { hash: string; putAt: number }[],
  referenced: string[],
  notes: References[],
  now: number,
): string[] {
  const since = now - auditLimits.objectKeepMs;
  if (!notes.some(({ at }) => at <= since)) return [];
  const alive = new Set([...referenced, ...notes.filter(({ at }) => at >= since).flatMap(({ hashes }) => hashes)]);
  return objects
    .filter(({ hash, putAt }) => putAt < since && !alive.has(hash))
    .map(({ hash }) => hash)
    .sort();
}
