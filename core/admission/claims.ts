import type { TenantRecord } from "../../schemas/tenant.ts";
import { isPublicSuffix } from "./validate.ts";

const parentOf = (name: string) => name.slice(name.indexOf(".") + 1);

/**
 * All claims of a record, in order: its hostnames, its wildcard, and the zone of each of them as `@parent`. Because of
 * the zones, `x.parent` and `*.parent` can't belong to two tenants. Parents where no tenant can have a wildcard need no
 * zone: the platform's domains and public suffixes.
 */
export function claimsOf(record: TenantRecord, platformDomains: string[]): string[] {
  const names = record.wildcard === undefined ? record.hostnames : [...record.hostnames, record.wildcard];
  const guarded = (parent: string) =>
    !isPublicSuffix(parent) && !platformDomains.some((domain) => parent === domain || parent.endsWith(`.${domain}`));
  const zones = names.map(parentOf).filter(guarded);
  return [...new Set([...names, ...zones.map((zone) => `@${zone}`)])].sort();
}

/** The field of the record that a claim comes from. */
export const claimField = (claim: string) => (claim.startsWith("*") ? "wildcard" : "hostnames");

/** A claim in words, for a reason. */
export const claimInWords = (claim: string) =>
  claim.startsWith("@") ? `the zone of ${claim.slice(1)} (names one label below it)` : claim;
