/** Sessions whose routes were removed: they continue for a grace time, then they are closed. Pure. */

/** Owners whose sessions will be closed, and since when they wait, milliseconds. */
export type Closing = Map<string, number>;

export interface ClosingFacts {
  /** Owners of open sessions: keys that `serves` accepts. */
  open: Iterable<string>;
  /** Is this owner served now? An owner that is served again, such as a resumed tenant, keeps its sessions. */
  serves: (owner: string) => boolean;
  graceMs: number;
  now: number;
}

/** The owners that wait to be closed from now on, and those of them that are due. */
export function planClosing(
  before: Closing,
  { open, serves, graceMs, now }: ClosingFacts,
): {
  closing: Closing;
  due: string[];
} {
  const gone = [...new Set(open)].filter((owner) => !serves(owner)).sort();
  const closing = new Map(gone.map((owner) => [owner, before.get(owner) ?? now]));
  return { closing, due: gone.filter((owner) => now - closing.get(owner)! >= graceMs) };
}
