/**
 * What a tenant holds of the names, as text: `acme.com` (the name), `*.acme.com` (the wildcard), `@acme.com` (something
 * below it). Because of the last one, nobody else gets a name or a wildcard above what a tenant has.
 */
import type { Route } from "../../schemas/snapshot.ts";
import type { TenantRecord } from "../../schemas/tenant.ts";
import { ancestorsOf, type NameRules, nameFault } from "./ownership.ts";

export type ClaimKind = "name" | "wildcard" | "below";

/** Who shares names: the tenants of one account, or else the tenant alone. */
export const ownerOf = ({ tenantId, account }: Pick<TenantRecord, "tenantId" | "account">): string =>
  account === undefined ? `tenant:${tenantId}` : `account:${account}`;

/** The account of an owner; undefined if it is a tenant alone. */
export const accountIn = (owner: string, tenantId: string): string | undefined =>
  owner === ownerOf({ tenantId }) ? undefined : owner.slice(owner.indexOf(":") + 1);

/** The name itself, or the parent of a wildcard. */
export const baseOf = (name: string) => (name.startsWith("*.") ? name.slice(2) : name);

/** The name that a claim is about, and what of it is claimed. */
export function partsOf(claim: string): { point: string; kind: ClaimKind } {
  if (claim.startsWith("@")) return { point: claim.slice(1), kind: "below" };
  return claim.startsWith("*.") ? { point: claim.slice(2), kind: "wildcard" } : { point: claim, kind: "name" };
}
export const pointOf = (claim: string) => partsOf(claim).point;

/** All claims of a record, in order. Names that no tenant can have need no `@`: public suffixes, the platform's domains. */
export function claimsOf(record: Pick<TenantRecord, "hostnames" | "wildcards">, rules: NameRules): string[] {
  const names = namesOf(record);
  const above = new Set(names.flatMap((name) => ancestorsOf(baseOf(name))));
  const guarded = [...above].filter((name) => nameFault(name, rules) === undefined);
  return [...new Set([...names, ...guarded.map((name) => `@${name}`)])].sort();
}

/** Hostnames and wildcards of a record or a route. */
export const namesOf = ({ hostnames, wildcards = [] }: Pick<Route, "hostnames" | "wildcards">): string[] => [
  ...hostnames,
  ...wildcards,
];

/** Whether a route serves what is claimed: `@name` as long as it serves anything below the name. */
export function serves(route: Route, claim: string): boolean {
  const { point, kind } = partsOf(claim);
  if (kind !== "below") return namesOf(route).includes(claim);
  return namesOf(route).some((name) => baseOf(name).endsWith(`.${point}`));
}
