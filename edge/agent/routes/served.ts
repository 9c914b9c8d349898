/** Routes as an edge serves them. */
import type { SessionLimits } from "../../../schemas/tenant.ts";
import type { BackendCheck } from "../backends/connect.ts";

/**
 * Where a route's connections go: the backends of each region, nearest first, and the router's options. An edge holds a
 * hundred thousand of these: a group is one text, its backends with spaces between.
 */
export interface ServedTarget {
  groups: string[];
  options: string[];
  /** How its backends are checked; by a connection when absent. */
  check?: BackendCheck;
}

/** A route that an edge serves: its owner, its files, and where they lead. */
export interface ServedRoute {
  slot: number;
  tenantId: string;
  files: string[];
  target: ServedTarget;
  /** Files of clients that offer an entry in ALPN end with `@` and the entry. */
  byAlpn: Record<string, ServedTarget>;
  /** The tenant's own limits of sessions. */
  sessionLimits?: Partial<SessionLimits>;
}

/** The backends of a group, or of several. */
export const backendsIn = (...groups: string[]): string[] => groups.flatMap((group) => group.split(" "));

/** Where a file of a route leads. */
export function targetOf({ target, byAlpn }: ServedRoute, file: string): ServedTarget {
  const at = file.indexOf("@");
  return at < 0 ? target : byAlpn[file.slice(at + 1)]!;
}

/** All backends of a route. */
export const backendsOf = ({ target, byAlpn }: ServedRoute): Set<string> =>
  new Set([target, ...Object.values(byAlpn)].flatMap(({ groups }) => backendsIn(...groups)));
