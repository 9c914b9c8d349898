import { auditLimits } from "../../schemas/limits.ts";

/** Differences between desired and observed state that one audit found: pairs of what differs and how. */
export interface AuditFindings {
  differences: [key: string, how: string][];
  at: number;
}

/** The differences in order, as many as fit into one item. */
export function bounded(differences: Map<string, string>): AuditFindings["differences"] {
  const kept: [string, string][] = [];
  let bytes = 0;
  for (const [key, how] of [...differences].sort(([a], [b]) => (a < b ? -1 : 1))) {
    bytes += Buffer.byteLength(key) + how.length;
    if (kept.length >= auditLimits.differencesMax || bytes > auditLimits.differenceBytesMax) break;
    kept.push([key, how]);
  }
  return kept;
}

/** Differences that the last audit found unchanged, in order. These must be repaired. */
export function persistentDifferences(
  differences: Map<string, string>,
  before: AuditFindings | undefined,
  now: number,
): string[] {
  if (before === undefined || now - before.at < auditLimits.apartMs) return [];
  const known = new Map(before.differences);
  return [...differences]
    .filter(([key, how]) => known.get(key) === how)
    .map(([key]) => key)
    .sort();
}
