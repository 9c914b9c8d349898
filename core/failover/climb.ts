/**
 * Out fast, back slowly: an edge that was out returns through shares of its weight, a region through steps of its dial. Each
 * step lasts for a soak, which doubles with each fall. Pure; times in milliseconds since 1970.
 */
import { failoverLimits } from "../../schemas/limits.ts";
import { fullDial, fullWeight } from "./model.ts";

const { soakDoublingsMax, forgetFallsMs } = failoverLimits;

export const weightSteps = [fullWeight / 8, fullWeight / 4, fullWeight / 2, fullWeight];
export const dialSteps = [fullDial / 4, fullDial / 2, fullDial];

/** How an edge or a region stands on its way. Absent: it was never out. */
export interface Climb {
  state: "out" | "suspect" | "up";
  /** When it came into this state, or up to this step. */
  since: number;
  /** How often it fell without a long good time between, and when it last did. */
  falls: number;
  fellAt: number;
}

/** The way of one that begins to rise. */
export const beginning = (now: number): Climb => ({ state: "up", since: now, falls: 0, fellAt: 0 });

/** The way after what is believed now; undefined: nothing is known. */
export function follow(climb: Climb | undefined, state: Climb["state"] | undefined, now: number): Climb | undefined {
  if (state === undefined || (climb === undefined && state === "up")) return climb;
  const before = climb ?? beginning(now);
  if (before.state === state) return before;
  if (state === "up") return { ...before, state, since: now };
  const isFall = before.state === "up";
  const falls = now - before.fellAt > forgetFallsMs ? 1 : before.falls + 1;
  const since = state === "suspect" ? 0 : now; // its first step is due at once
  return isFall ? { state, since, falls, fellAt: now } : { ...before, state, since };
}

/** How long it stays at a step. */
const soakMs = ({ falls }: Climb, soakSeconds: number): number =>
  soakSeconds * 1000 * 2 ** Math.min(soakDoublingsMax, Math.max(0, falls - 1));

export interface Step {
  value: number;
  climb: Climb | undefined;
  /** When the next step is due; undefined: it waits for nothing. */
  dueAt?: number;
}

/** The next value of one that is up and shows `value`, and the way after it. */
export function rise(value: number, steps: number[], climb: Climb | undefined, soakSeconds: number, now: number): Step {
  const top = steps.at(-1)!;
  const next = steps.find((step) => step > value);
  if (next === undefined) return atTop(top, climb, now);
  const on = climb ?? beginning(now);
  const dueAt = on.since + soakMs(on, soakSeconds);
  if (now < dueAt) return { value, climb: on, dueAt };
  const moved = { ...on, since: now };
  return next === top ? atTop(top, moved, now) : { value: next, climb: moved, dueAt: now + soakMs(on, soakSeconds) };
}

/** It is remembered for as long as its falls count. */
const atTop = (value: number, climb: Climb | undefined, now: number): Step => ({
  value,
  climb: climb === undefined || climb.falls === 0 || now - climb.fellAt > forgetFallsMs ? undefined : climb,
});

/** The next lower value of one that signs disagree about, never zero; one step a soak, the first at once. */
export function sink(value: number, steps: number[], climb: Climb, soakSeconds: number, now: number): Step {
  const lower = steps.findLast((step) => step < value);
  if (lower === undefined) return { value, climb };
  const dueAt = climb.since + soakSeconds * 1000;
  if (now < dueAt) return { value, climb, dueAt };
  return { value: lower, climb: { ...climb, since: now }, dueAt: now + soakSeconds * 1000 };
}
