/** Renders routes as the files that the router reads. Pure: writes nothing. */
import ipaddr from "ipaddr.js";
import { Route } from "../../../schemas/snapshot.ts";
import { Hostname, IpAddress, TenantId, Wildcard } from "../../../schemas/tenant.ts";

export interface RouteContext {
  /** Regions by distance from here, nearest first. */
  nearest: string[];
  backendRanges: string[];
  portBase: number;
  portCount: number;
}

/** A route that an edge serves: its owner, its files, and its backends by region, nearest first. */
export interface ServedRoute {
  slot: number;
  tenantId: string;
  files: string[];
  groups: string[][];
}

export type RouteFiles = { ok: true; route: ServedRoute } | { ok: false; slot: number; reason: string };

const backendPattern = /^(?:\[([0-9a-f:]+)\]|([0-9.]+)):([1-9][0-9]{0,4})$/;

/** The files of one route, or why this edge will not serve it. Checks the route again: an edge trusts no writer. */
export function routeFiles(input: unknown, context: RouteContext): RouteFiles {
  const parsed = Route.safeParse(input);
  const slot = Number((input as { slot?: unknown } | null)?.slot ?? -1);
  if (!parsed.success) return { ok: false, slot, reason: "the route is malformed" };
  const route = parsed.data;
  if (TenantId.safeParse(route.tenantId).data !== route.tenantId)
    return { ok: false, slot, reason: "the tenant's id is not valid" };
  const groups = groupsOf(route, context.nearest);
  const outside = groups.flat().find((backend) => !isAllowed(backend, context.backendRanges));
  if (outside !== undefined) return { ok: false, slot, reason: `backend ${outside} is outside the allowed ranges` };
  if (groups.length === 0) return { ok: false, slot, reason: "the route has no backend" };
  const files = filesOf(route, context);
  return files === undefined
    ? { ok: false, slot, reason: "a name or port of the route is not valid" }
    : { ok: true, route: { slot, tenantId: route.tenantId, files, groups } };
}

/** Nearest region first; regions that are not in `nearest` come last, by name. */
function groupsOf(route: Route, nearest: string[]): string[][] {
  const rank = (region: string) => (nearest.includes(region) ? nearest.indexOf(region) : nearest.length);
  return Object.entries(route.backends)
    .sort(([a], [b]) => rank(a) - rank(b) || (a < b ? -1 : 1))
    .flatMap(([, backends]) => (backends.length === 0 ? [] : [backends]));
}

function isAllowed(backend: string, ranges: string[]): boolean {
  const match = backendPattern.exec(backend);
  const text = match?.[1] ?? match?.[2];
  // Only the canonical form passes: one parser reads a leading zero as octal, another as decimal.
  if (text === undefined || IpAddress.safeParse(text).data !== text || Number(match?.[3]) > 65535) return false;
  const address = ipaddr.parse(text);
  return ranges.some((range) => {
    const [base, bits] = ipaddr.parseCIDR(range);
    return base.kind() === address.kind() && address.match(base, bits);
  });
}

/** `n/<name>`, `w/<parent>`, `p/<port>`; undefined if a name or port is not exactly in the schema's form. */
function filesOf(route: Route, { portBase, portCount }: RouteContext): string[] | undefined {
  if (route.port !== undefined) {
    const inRange = route.port >= portBase && route.port < portBase + portCount;
    return inRange && route.port === portBase + route.slot ? [`p/${route.port}`] : undefined;
  }
  const exact = route.hostnames.every((name) => Hostname.safeParse(name).data === name);
  const { hostnames, wildcards = [] } = route;
  const wild = wildcards.every((wildcard) => Wildcard.safeParse(wildcard).data === wildcard);
  if (!exact || !wild) return undefined;
  return [...hostnames.map((name) => `n/${name}`), ...wildcards.map((wildcard) => `w/${wildcard.slice(2)}`)];
}
