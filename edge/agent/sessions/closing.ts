/** Sessions of routes that are gone: they go on for a while, then they are closed. Pure. */

/** Whose sessions are to be closed, and since when, milliseconds. */
export type Closing = Map<string, number>;

export interface ClosingFacts {
  /** Whose sessions are open: keys that `serves` understands. */
  open: Iterable<string>;
  /** Is this one served now? One that is back, as a suspended tenant may be, keeps its sessions. */
  serves: (owner: string) => boolean;
  graceMs: number;
  now: number;
}

/** Who waits to be closed from now on, and of those, whose time has come. */
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
