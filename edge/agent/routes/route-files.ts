/** Renders routes as the files that the router reads. Pure: writes nothing. */
import net from "node:net";
import { Route, type RouteTarget } from "../../../schemas/snapshot.ts";
import {
  Alpn,
  ClientRange,
  Hostname,
  IpAddress,
  type SessionLimits,
  TenantId,
  Wildcard,
} from "../../../schemas/tenant.ts";
import type { BackendCheck } from "../backends/connect.ts";
import { isNamed } from "../backends/names.ts";
import { allowOption } from "./content.ts";
import { backendsIn, type ServedRoute, type ServedTarget } from "./served.ts";

/** What a structure says that routes depend on. */
export interface RouteContext {
  /** Regions by distance from here, nearest first. */
  nearest: string[];
  backendRanges: string[];
  portBase: number;
  portCount: number;
}

/** The addresses that a backend's name has now, in order. */
export type AddressesOf = (name: string) => string[];

/** `names` are the DNS names that its backends have. */
export type RouteFiles = ({ ok: true; route: ServedRoute } | { ok: false; slot: number; reason: string }) & {
  names?: string[];
};

/** Most routes have none: they share these. */
const noOptions: string[] = [];
const noAlpn: ServedRoute["byAlpn"] = {};

const backendPattern = /^(?:\[([0-9a-f:]+)\]|([0-9.]+)):([1-9][0-9]{0,4})$/;

/** The files of one route, or why this edge will not serve it. Checks the route again: an edge trusts no writer. */
export function routeFiles(input: unknown, context: RouteContext, addressesOf: AddressesOf = () => []): RouteFiles {
  const parsed = Route.safeParse(input);
  const slot = Number((input as { slot?: unknown } | null)?.slot ?? -1);
  if (!parsed.success) return { ok: false, slot, reason: "the route is malformed" };
  const { route, names, fault } = withAddresses(parsed.data, context, addressesOf);
  const made: RouteFiles = fault === undefined ? filesOfRoute(route, context) : { ok: false, slot, reason: fault };
  return names.length === 0 ? made : { ...made, names };
}

/**
 * The route with addresses in place of its backends' names: those inside the ranges. A region without any is left out, so
 * that the next one serves.
 */
function withAddresses(route: Route, context: RouteContext, addressesOf: AddressesOf) {
  const targets = [route, ...Object.values(route.alpn ?? {})];
  const named = targets.flatMap(({ backends }) => Object.values(backends).flat().filter(isNamed));
  if (named.length === 0) return { route, names: [], fault: undefined };
  const names = [...new Set(named.map((backend) => backend.slice(0, backend.lastIndexOf(":"))))].sort();
  const bad = names.find((name) => Hostname.safeParse(name).data !== name);
  if (bad !== undefined) return { route, names: [], fault: `backend ${bad.slice(0, 100)} is not a DNS name` };
  const resolved = (backend: string): string[] => {
    if (!isNamed(backend)) return [backend];
    const at = backend.lastIndexOf(":");
    return addressesOf(backend.slice(0, at))
      .map((address) => `${address.includes(":") ? `[${address}]` : address}${backend.slice(at)}`)
      .filter((address) => isAllowed(address, context.backendRanges));
  };
  const targetWith = <T extends RouteTarget>(target: T): T => ({
    ...target,
    backends: Object.fromEntries(
      Object.entries(target.backends).map(([region, backends]) => [region, [...new Set(backends.flatMap(resolved))]]),
    ),
  });
  const { alpn } = route;
  const entries = Object.entries(alpn ?? {}).map(([entry, target]) => [entry, targetWith(target)] as const);
  const now = { ...targetWith(route), ...(alpn === undefined ? {} : { alpn: Object.fromEntries(entries) }) };
  const isEmpty = ({ backends }: RouteTarget) => Object.values(backends).every((list) => list.length === 0);
  if (![now, ...entries.map(([, target]) => target)].some(isEmpty)) return { route: now, names, fault: undefined };
  const known = names.find((name) => addressesOf(name).length > 0);
  const why =
    known === undefined
      ? "has no address yet"
      : `has only addresses outside the allowed ranges (${addressesOf(known)[0]})`;
  return { route: now, names, fault: `backend ${known ?? names[0]} ${why}` };
}

function filesOfRoute(route: Route, context: RouteContext): RouteFiles {
  const { slot } = route;
  if (TenantId.safeParse(route.tenantId).data !== route.tenantId)
    return { ok: false, slot, reason: "the tenant's id is not valid" };
  const { allow, alpn = {} } = route;
  if (allow?.some((range) => ClientRange.safeParse(range).data !== range))
    return { ok: false, slot, reason: "a range of client addresses is not valid" };
  const common = allow === undefined ? [] : [allowOption(allow)];
  const served = (target: RouteTarget, more: string[]): ServedTarget => {
    const options = [...optionsOf(target), ...more, ...common];
    return {
      groups: groupsOf(target, context.nearest),
      options: options.length === 0 ? noOptions : options,
      ...checkOf(target, route.hostnames[0]),
    };
  };
  const target = served(route, Object.keys(alpn).length === 0 ? [] : ["alpn"]);
  const entries = Object.entries(alpn);
  const byAlpn =
    entries.length === 0 ? noAlpn : Object.fromEntries(entries.map(([entry, other]) => [entry, served(other, [])]));
  for (const { groups } of [target, ...Object.values(byAlpn)]) {
    const outside = backendsIn(...groups).find((backend) => !isAllowed(backend, context.backendRanges));
    if (outside !== undefined) return { ok: false, slot, reason: `backend ${outside} is outside the allowed ranges` };
    if (groups.length === 0) return { ok: false, slot, reason: "the route has no backend" };
  }
  const files = filesOf(route, context);
  return files === undefined
    ? { ok: false, slot, reason: "a name or port of the route is not valid" }
    : { ok: true, route: { slot, tenantId: route.tenantId, files, target, byAlpn, ...limitsOf(route) } };
}

const limitsOf = ({ sessionLimits }: Route) => {
  const given = Object.entries(sessionLimits ?? {}).filter(([, limit]) => limit !== undefined);
  return given.length === 0 ? {} : { sessionLimits: Object.fromEntries(given) as Partial<SessionLimits> };
};

function checkOf({ check, proxyProtocol }: RouteTarget, name: string | undefined): { check?: BackendCheck } {
  if (check === undefined) return {};
  const known = { ...(name === undefined ? {} : { name }), ...(proxyProtocol === undefined ? {} : { proxyProtocol }) };
  return { check: typeof check === "string" ? { type: check, ...known } : { ...check, ...known } };
}

const optionsOf = ({ proxyProtocol, affinity }: RouteTarget): string[] =>
  [proxyProtocol, affinity].flatMap((option) => option ?? []);

/** Nearest region first; regions that are not in `nearest` come last, by name. */
function groupsOf({ backends }: RouteTarget, nearest: string[]): string[] {
  const rank = (region: string) => (nearest.includes(region) ? nearest.indexOf(region) : nearest.length);
  return Object.keys(backends)
    .filter((region) => backends[region]!.length > 0)
    .sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1))
    .map((region) => backends[region]!.join(" "));
}

/** Each fleet has few lists of ranges, and each list is asked hundreds of thousands of times. */
const blockLists = new Map<string, net.BlockList>();

function listOf(ranges: string[]): net.BlockList {
  const key = ranges.join();
  const known = blockLists.get(key);
  if (known !== undefined) return known;
  const list = new net.BlockList();
  for (const range of ranges) {
    const [address = "", bits] = range.split("/");
    list.addSubnet(address, Number(bits), address.includes(":") ? "ipv6" : "ipv4");
  }
  blockLists.set(key, list);
  return list;
}

function isAllowed(backend: string, ranges: string[]): boolean {
  const match = backendPattern.exec(backend);
  const text = match?.[1] ?? match?.[2];
  if (text === undefined || Number(match?.[3]) > 65535) return false;
  // Only the canonical form passes: one parser reads a leading zero as octal, another as decimal. Node takes no such zero.
  if (net.isIPv4(text)) return listOf(ranges).check(text, "ipv4");
  return IpAddress.safeParse(text).data === text && listOf(ranges).check(text, "ipv6");
}

/**
 * `n/<name>`, `w/<parent>`, `p/<port>`, and for each entry of ALPN one more beside each name; undefined if one of them is not
 * exactly in the schema's form.
 */
function filesOf(route: Route, { portBase, portCount }: RouteContext): string[] | undefined {
  if (route.port !== undefined) {
    const inRange = route.port >= portBase && route.port < portBase + portCount;
    return inRange && route.port === portBase + route.slot ? [`p/${route.port}`] : undefined;
  }
  const exact = route.hostnames.every((name) => Hostname.safeParse(name).data === name);
  const { hostnames, wildcards = [], alpn = {} } = route;
  const wild = wildcards.every((wildcard) => Wildcard.safeParse(wildcard).data === wildcard);
  const entries = Object.keys(alpn);
  if (!exact || !wild || entries.some((entry) => !Alpn.safeParse(entry).success)) return undefined;
  const names = [...hostnames.map((name) => `n/${name}`), ...wildcards.map((wildcard) => `w/${wildcard.slice(2)}`)];
  if (entries.length === 0) return names;
  return names.flatMap((file) => [file, ...entries.map((entry) => `${file}@${entry}`)]);
}
