import type { TenantRecord } from "../../schemas/tenant.ts";
import { isPublicSuffix } from "./validate.ts";

const parentOf = (name: string) => name.slice(name.indexOf(".") + 1);

/**
 * All that a record claims, in order: its hostnames, its wildcard, and as `@parent` the zone of each, so that
 * `x.parent` and `*.parent` can't go to two tenants. Parents where no tenant can have a wildcard need no zone:
 * those of the platform, and public suffixes.
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
  claim.startsWith("@") ? `the zone of ${claim.slice(1)}, names one label below it,` : claim;
