/** Differences between what is desired and what is observed, as one audit saw them: what differs to how. */
export interface Seen {
  differences: [key: string, how: string][];
  at: number;
}

/** What is on its way looks like a difference too: between the two looks there is at least so much time. */
export const apartMs = 15_000;
/** One item of the ledger holds what an audit saw; the rest is for the next. */
const differencesMost = 1500;
const keyBytesMost = 150_000;

/** Differences in order, as many as one item takes. */
export function bounded(differences: Map<string, string>): Seen["differences"] {
  const kept: [string, string][] = [];
  let bytes = 0;
  for (const [key, how] of [...differences].sort(([a], [b]) => (a < b ? -1 : 1))) {
    bytes += Buffer.byteLength(key) + how.length;
    if (kept.length >= differencesMost || bytes > keyBytesMost) break;
    kept.push([key, how]);
  }
  return kept;
}

/** Differences that were the same in the last audit, in order: these are to be mended. */
export function seenTwice(differences: Map<string, string>, before: Seen | undefined, now: number): string[] {
  if (before === undefined || now - before.at < apartMs) return [];
  const known = new Map(before.differences);
  return [...differences]
    .filter(([key, how]) => known.get(key) === how)
    .map(([key]) => key)
    .sort();
}
