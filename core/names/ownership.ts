/** Which names a tenant may have at all. Whoever has a name also has every name below it. */
import { getPublicSuffix } from "tldts";
import { domainOfTemplate } from "../../schemas/derived-names.ts";
import type { Fleet } from "../../schemas/fleet.ts";

/** What a fleet says of names. */
export type NameRules = Pick<
  Fleet,
  "platformDomains" | "endpointDomain" | "reservedNames" | "derivedNames" | "sharedNames"
>;

/** Suffixes outside the public DNS (RFC 6761, 6762, 7686, 8375, 9476): users could not reach such names. */
const privateSuffixes = ["localhost", "local", "internal", "invalid", "onion", "arpa", "alt"];

/** Whether `name` is `parent` or lies below it, at any depth. */
export const isWithin = (name: string, parent: string) => name === parent || name.endsWith(`.${parent}`);

/** A name below which anyone may register, such as `com`, `co.uk` or `github.io`. */
const isPublicSuffix = (name: string) => getPublicSuffix(name, { allowPrivateDomains: true }) === name;

/** Why no tenant can have the name and all that lies below it, as the end of a sentence; undefined if a tenant can. */
export function nameFault(name: string, rules: NameRules): string | undefined {
  const { platformDomains, endpointDomain, reservedNames } = rules;
  if (platformDomains.includes(name) || name === endpointDomain) return "belongs to the platform";
  if (isWithin(name, endpointDomain)) return `is below ${endpointDomain}, which is reserved for endpoints`;
  const reserved = reservedNames.find((other) => isWithin(name, other));
  if (reserved === name) return "is reserved by the platform";
  if (reserved !== undefined) return `is below ${reserved}, which is reserved by the platform`;
  const common = commonDomains(rules);
  const shared = common.find((other) => isWithin(name, other));
  if (shared !== undefined) return `is in ${shared}, where all tenants have names that clients derive`;
  const below = [...platformDomains, endpointDomain, ...reservedNames, ...common].find((other) =>
    isWithin(other, name),
  );
  if (below !== undefined) return `is above ${below}, which belongs to the platform`;
  if (isPublicSuffix(name)) return "is a public suffix, which no tenant can own";
  if (platformDomains.some((domain) => isWithin(name, domain))) return undefined;
  return privateSuffixes.some((suffix) => isWithin(name, suffix)) ? "is not a name of the public DNS" : undefined;
}

/** Domains in which names belong to all tenants, each to the one whose name it is made of. */
const commonDomains = ({ derivedNames, sharedNames }: NameRules) => [
  ...sharedNames,
  ...derivedNames.flatMap((template) => domainOfTemplate(template) ?? []),
];

/** The names above `name`, nearest first, from two labels on. */
export function ancestorsOf(name: string): string[] {
  const labels = name.split(".");
  return labels.slice(1, -1).map((_, index) => labels.slice(index + 1).join("."));
}
