/**
 * How an edge drains: it fails its health check, but accepts connections until no new ones arrive, or for as
 * long as it may take. Then it closes the
 * remaining sessions at an even pace. State in, state out; times in milliseconds. Pure.
 */

export type Drain =
  | { phase: "none" }
  /** Still accepts; new users are sent to other edges. */
  | { phase: "leaving"; since: number }
  /** Closes the sessions that were open at the start of this phase, spread over `closeMs`. */
  | { phase: "closing"; since: number; sessions: number }
  /** No session is left; new ones are closed. */
  | { phase: "drained"; since: number };

export interface DrainFacts {
  /** True while the edge is asked to drain. */
  asked: boolean;
  sessions: number;
  /** When the last session was opened. */
  openedAt: number;
  quietMs: number;
  closeMs: number;
  now: number;
}

/** The next state, and how many sessions to close now. */
export function advanceDrain(state: Drain, facts: DrainFacts): { state: Drain; close: number } {
  const { asked, sessions, openedAt, quietMs, closeMs, now } = facts;
  if (!asked) return { state: { phase: "none" }, close: 0 };
  if (state.phase === "none") return { state: { phase: "leaving", since: now }, close: 0 };
  if (state.phase === "leaving") {
    const quiet = now - Math.max(openedAt, state.since) >= quietMs;
    const late = now - state.since >= quietMs + closeMs; // a client that keeps coming holds up nobody
    return { state: quiet || late ? { phase: "closing", since: now, sessions } : state, close: 0 };
  }
  if (sessions === 0) return { state: state.phase === "drained" ? state : { phase: "drained", since: now }, close: 0 };
  if (state.phase === "drained") return { state, close: sessions };
  const left = closeMs === 0 ? 0 : Math.max(0, 1 - (now - state.since) / closeMs);
  return { state, close: Math.max(0, sessions - Math.floor(state.sessions * left)) };
}
