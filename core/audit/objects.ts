import { auditLimits } from "../../schemas/limits.ts";

/** The hashes that were referenced at one time. */
export interface References {
  at: number;
  hashes: string[];
}

/**
 * Objects without a reference for seven days: no note since then names them, nor the last one before. They were put before
 * that last one, so that an object which came and went while no audit ran is kept until the notes cover seven days of its
 * absence. Without notes of seven days, there are none. A publisher puts an object again when it references it, which renews its `putAt`.
 */
export function objectsToDelete(
  objects: { hash: string; putAt: number }[],
  referenced: string[],
  notes: References[],
  now: number,
): string[] {
  const from = Math.max(...notes.map(({ at }) => at).filter((at) => at <= now - auditLimits.objectKeepMs));
  const alive = new Set([...referenced, ...notes.filter(({ at }) => at >= from).flatMap(({ hashes }) => hashes)]);
  return objects
    .filter(({ hash, putAt }) => putAt < from && !alive.has(hash))
    .map(({ hash }) => hash)
    .sort();
}
