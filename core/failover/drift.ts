/**
 * What else an accelerator must be, beside weights and dials: enabled, with its listener's ports and each group's health check
 * and port override. People change these in the console; users then fail although every edge is well. Pure.
 */
import type { Cell } from "../../schemas/fleet.ts";
import { acceleratorLimits } from "../../schemas/limits.ts";
import type { GroupSettings, Observed } from "./model.ts";

export interface Drift {
  /** The region of a group, or the cell. */
  target: string;
  what: string;
  /** How it is repaired; undefined: only people can. */
  repair?: Repair;
}

export type Repair =
  | { kind: "enable" }
  | { kind: "ports"; ports: [from: number, to: number][] }
  | { kind: "settings"; region: string; arn: string; settings: GroupSettings };

export const listenerPorts = ({ tlsPort, portBase, portCount }: Cell): [from: number, to: number][] => [
  [tlsPort, tlsPort],
  [portBase, portBase + portCount - 1],
];

/** The health check finds a dead edge in 10 to 20 s. TLS comes to an unprivileged port. */
export const groupSettings = ({ tlsPort, edgeTlsPort, healthPort }: Cell): GroupSettings => ({
  protocol: "HTTP",
  path: "/healthz",
  port: healthPort,
  intervalSeconds: acceleratorLimits.healthCheckSeconds,
  failures: acceleratorLimits.healthCheckFailures,
  overrides: [[tlsPort, edgeTlsPort]],
});

const isSame = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b);
const byFirst = (pairs: [number, number][]) => pairs.toSorted(([a], [b]) => a - b);

export function driftOf(observed: Observed, cell: Cell, edgeIds: ReadonlySet<string>): Drift[] {
  const found: Drift[] = [];
  if (observed.enabled === false)
    found.push({
      target: cell.name,
      what: "the accelerator is disabled: no user reaches it",
      repair: { kind: "enable" },
    });
  const ports = listenerPorts(cell);
  if (observed.ports !== undefined && !isSame(byFirst(observed.ports), byFirst(ports))) {
    const are = observed.ports.map((range) => range.join("-")).join(", ");
    found.push({ target: cell.name, what: `the listener's ports are ${are}`, repair: { kind: "ports", ports } });
  }
  const settings = groupSettings(cell);
  for (const group of observed.groups) {
    const { region, arn } = group;
    const names = Object.keys(settings) as (keyof GroupSettings)[];
    const other = group.settings && names.filter((name) => !isSame(group.settings![name], settings[name]));
    if (other !== undefined && other.length > 0) {
      const are = other.map((name) => `${name} ${JSON.stringify(group.settings![name])}`).join(", ");
      found.push({ target: region, what: `its group has ${are}`, repair: { kind: "settings", region, arn, settings } });
    }
    if (!cell.regions.includes(region))
      found.push({ target: region, what: "the fleet has no edges there: somebody made this group" });
    for (const { edgeId } of group.endpoints)
      if (!edgeIds.has(edgeId)) found.push({ target: region, what: `${edgeId} is no edge: somebody added it` });
  }
  return found;
}
