/** Which tenants, and which sources of theirs, may open no further session on this edge for now. Pure. */
import ipaddr from "ipaddr.js";
import type { SessionLimits } from "../../../schemas/tenant.ts";

/** A tenant's sessions on this edge. */
export interface TenantUse {
  open: number;
  /** Opened in the current second. */
  lately: number;
  /** Open ones by source: a range as route files have it. */
  sources: ReadonlyMap<string, number>;
}

/** What one source may have of a tenant's sessions. */
const sourceShare = 0.25;
/** A tenant that was full opens sessions again when this share of its limit is open, so that its files change seldom. */
const freeAgain = 0.95;

/** Where a client comes from: its address, or the /56 of an IPv6 address, since one user has at least that. */
export function sourceOf(address: string): string {
  if (!ipaddr.isValid(address)) return "0-0"; // not of our router: it is nobody's source
  if (!address.includes(":")) {
    const hex = Buffer.from(address.split(".").map(Number)).toString("hex");
    return `${hex}-${hex}`;
  }
  const prefix = Buffer.from(ipaddr.IPv6.parse(address).toByteArray()).toString("hex").slice(0, 14);
  return `${prefix}${"0".repeat(18)}-${prefix}${"f".repeat(18)}`;
}

/** Options of the tenant's route files (edge/structure/router.js): none, `full`, or the sources that are `block`ed. */
export function limitedBy(use: TenantUse, limits: SessionLimits, before: string[]): string[] {
  const most = before.includes("full") ? limits.open * freeAgain : limits.open;
  if (use.open >= most || use.lately >= limits.newPerSecond) return ["full"];
  const ofOne = Math.max(1, Math.ceil(limits.open * sourceShare));
  const heavy = [...use.sources].filter(([, open]) => open >= ofOne).map(([source]) => source);
  return heavy.length === 0 ? [] : [`block=${heavy.sort().join(",")}`];
}
