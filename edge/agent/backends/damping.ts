/**
 * Is a backend fit for users? Down at the first sure sign, up again only after it held for a while, longer each time that
 * it falls. What is not known counts as up: missing health never takes anybody's backend away. Pure.
 */

export interface Backend {
  up: boolean;
  /** Checks in a row that went the other way than `up` says. */
  against: number;
  /** When it fell last, and how often in a row without a long good time between. 0: never. */
  fellAt: number;
  falls: number;
}

/** What a connection to it showed. `failed`: nginx could not connect for a user. */
export type Sign = "connected" | "refused" | "silent" | "failed";

export const unknownBackend: Backend = { up: true, against: 0, fellAt: 0, falls: 0 };

/** One lost packet is no outage; a refusal, or a user turned away, is sure. */
const silentChecks = 2;
const goodChecks = 2;
/** How long it stays down after a fall: doubled with each further one, up to the most. */
const holdMs = 1000;
const holdMost = 60_000;
/** A backend that was up for so long starts over. */
const forgetMs = 5 * 60_000;

export function observe(backend: Backend, sign: Sign, now: number): Backend {
  if (sign === "connected") return backend.up ? { ...backend, against: 0 } : recovering(backend, now);
  if (!backend.up) return { ...backend, against: 0 };
  const against = backend.against + 1;
  return sign === "silent" && against < silentChecks ? { ...backend, against } : fallen(backend, now);
}

function fallen(backend: Backend, now: number): Backend {
  const falls = now - backend.fellAt > forgetMs ? 1 : backend.falls + 1;
  return { up: false, against: 0, fellAt: now, falls };
}

function recovering(backend: Backend, now: number): Backend {
  const against = backend.against + 1;
  const hold = Math.min(holdMost, holdMs * 2 ** (backend.falls - 1));
  const up = against >= goodChecks && now - backend.fellAt >= hold;
  return up ? { ...backend, up, against: 0 } : { ...backend, against };
}

/** A backend is hot when users were sent to it lately. */
export const hotMs = 60_000;
export const hotEveryMs = 1000;
export const idleEveryMs = 30_000;

/** How soon it is looked at again: one in doubt, or that fell a moment ago, as often as a hot one. */
export function checkEveryMs(backend: Backend, usedAt: number, now: number): number {
  const unsure = backend.against > 0 || now - backend.fellAt < hotMs;
  return unsure || now - usedAt < hotMs ? hotEveryMs : idleEveryMs;
}
