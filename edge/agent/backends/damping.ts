/**
 * Decides whether a backend is up. It goes down at the first sure sign. It comes up again only after a hold, which
 * grows with each fall. An unknown backend counts as up: missing health never removes a tenant's backend. Pure.
 */

export interface Backend {
  up: boolean;
  /** Consecutive checks that contradict `up`. */
  against: number;
  /** When it last fell, and the number of falls without a long good time between them. 0: never. */
  fellAt: number;
  falls: number;
  /** It accepted connections and said nothing: it comes up only when it answers. */
  isMute?: boolean | undefined;
}

/** The result of a connection to it. `failed`: nginx could not connect a user. `mute`: neither a user nor a check got a word. */
export type Sign = "connected" | "refused" | "silent" | "failed" | "mute";

export const unknownBackend: Backend = { up: true, against: 0, fellAt: 0, falls: 0 };

/** Whether nothing but good is known of it. */
export const isUnknown = ({ up, against, falls }: Backend): boolean => up && against === 0 && falls === 0;

/** One lost packet is no outage. A refusal, or a user's failed connection, is a sure sign. */
const silentChecks = 2;
const goodChecks = 2;
/** How long it stays down after a fall: doubled with each further fall, up to `holdMax`. */
const holdMs = 1000;
const holdMax = 60_000;
/** If the last fall is older than this, the number of falls starts again at 1. */
const forgetMs = 5 * 60_000;

export function observe(backend: Backend, sign: Sign, now: number): Backend {
  if (sign === "connected") return backend.up ? { ...backend, against: 0 } : recovering(backend, now);
  if (!backend.up) return { ...backend, against: 0 };
  const against = backend.against + 1;
  if (sign === "silent" && against < silentChecks) return { ...backend, against };
  return { ...fallen(backend, now), ...(sign === "mute" ? { isMute: true } : {}) };
}

function fallen(backend: Backend, now: number): Backend {
  const falls = now - backend.fellAt > forgetMs ? 1 : backend.falls + 1;
  return { up: false, against: 0, fellAt: now, falls };
}

function recovering(backend: Backend, now: number): Backend {
  const against = backend.against + 1;
  const hold = Math.min(holdMax, holdMs * 2 ** (backend.falls - 1));
  const up = against >= goodChecks && now - backend.fellAt >= hold;
  return up ? { ...backend, up, against: 0, isMute: undefined } : { ...backend, against };
}

/** A backend is hot when users were sent to it lately. */
export const hotMs = 60_000;
export const hotEveryMs = 1000;
export const idleEveryMs = 30_000;

/** The interval to the next check. A backend in doubt, or that fell recently, is checked as often as a hot one. */
export function checkEveryMs(backend: Backend, usedAt: number, now: number): number {
  const unsure = backend.against > 0 || now - backend.fellAt < hotMs;
  return unsure || now - usedAt < hotMs ? hotEveryMs : idleEveryMs;
}
