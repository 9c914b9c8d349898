import { auditLimits } from "../../schemas/limits.ts";

/** A difference between desired and observed state that audits remember until it is gone. Times in milliseconds. */
export interface Finding {
  /** What differs, and how. */
  key: string;
  how: string;
  /** How often it was repaired in vain, and when the next attempt is due. */
  tries: number;
  nextAt: number;
}

export interface Weighed {
  /** What must be repaired now, in order. */
  due: string[];
  kept: Finding[];
}

/**
 * A difference is repaired when it is still the same after `settleMs`, because a change in progress looks like a difference
 * too. While repairs do not help, they come twice as late each time. `seen` has everything that this audit looked at;
 * undefined stands for no difference.
 */
export function weigh(
  before: Finding[],
  seen: Map<string, string | undefined>,
  now: number,
  settleMs: number,
): Weighed {
  const known = new Map(before.map((finding) => [finding.key, finding]));
  const due: string[] = [];
  const findings = before.filter(({ key }) => !seen.has(key));
  for (const [key, how] of seen) {
    if (how === undefined) continue;
    const old = known.get(key);
    if (old?.how !== how) findings.push({ key, how, tries: 0, nextAt: now + settleMs });
    else if (now < old.nextAt) findings.push(old);
    else {
      due.push(key);
      findings.push({ key, how, tries: old.tries + 1, nextAt: now + backoffMs(old.tries) });
    }
  }
  return { due: due.sort(), kept: bounded(findings) };
}

const backoffMs = (tries: number) => Math.min(auditLimits.backoffMs * 2 ** tries, auditLimits.backoffMaxMs);

/** As many as fit into one item. Those that were tried least stay: a difference that can't be repaired hides no other one. */
function bounded(findings: Finding[]): Finding[] {
  const kept: Finding[] = [];
  let bytes = 0;
  for (const finding of findings.toSorted((a, b) => a.tries - b.tries || (a.key < b.key ? -1 : 1))) {
    bytes += Buffer.byteLength(finding.key) + finding.how.length;
    if (kept.length >= auditLimits.differencesMax || bytes > auditLimits.differenceBytesMax) break;
    kept.push(finding);
  }
  return kept;
}
