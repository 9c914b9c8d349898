/** Pins: what an operator wants of an edge or a region, for a time. They win over automation, within the rails. Pure. */
import { failoverLimits } from "../../schemas/limits.ts";
import { fullDial } from "./model.ts";

export interface Pin {
  kind: "edge" | "region";
  /** The edge's id, or the region. */
  target: string;
  /** Weight of an edge, 0 to 255, or dial of a region, 0 to 100. */
  value: number;
  /** Milliseconds since 1970. */
  at: number;
  until: number;
  by: string;
  why: string;
}

/** The pin that counts for a target now. */
export const pinOf = (pins: Pin[], kind: Pin["kind"], target: string, now: number): Pin | undefined =>
  pins.find((pin) => pin.kind === kind && pin.target === target && now < pin.until);

/** Why this can't be a pin; undefined if it can. */
export function pinFault({ kind, value, at, until, why }: Pin): string | undefined {
  const most = kind === "edge" ? 255 : fullDial;
  const what = kind === "edge" ? "a weight is a whole number from 0 to 255" : "a dial is a whole number from 0 to 100";
  if (!Number.isInteger(value) || value < 0 || value > most) return what;
  const ms = until - at;
  const { pinMsMin, pinMsMax } = failoverLimits;
  if (!(ms >= pinMsMin && ms <= pinMsMax)) return "a pin lasts from 1m to 72h, as in --for 2h";
  if (why.trim() === "") return 'say why, as in --why "kernel update"';
  return undefined;
}
