/** Proof that a name is a tenant's own: a TXT record in the name's own zone, which only whoever controls it can write. Pure. */
import { proofLimits } from "../../schemas/limits.ts";
import { sha256 } from "../../schemas/signed.ts";
import { baseOf } from "./claims.ts";
import { isWithin, type NameRules } from "./ownership.ts";

/** The token that an owner writes: the same for all its names in a stage, and useless to anybody else. */
export const tokenOf = (stage: string, owner: string): string =>
  `landfall=${sha256(`landfall-proof-v1\n${stage}\n${owner}`).slice(0, 40)}`;

/** Where the token is looked for. */
export const proofNameOf = (name: string) => `_landfall.${name}`;

/**
 * The names for which a tenant needs a proof: those outside the platform's domains that it does not hold yet. What lies below
 * another one of them, or below one that it holds, is in the same hands.
 */
export function namesToProve(wanted: string[], held: string[], { platformDomains }: NameRules): string[] {
  const bases = [...new Set(wanted.map(baseOf))].sort();
  const known = held.map(baseOf);
  const isPlatforms = (name: string) => platformDomains.some((domain) => isWithin(name, domain));
  return bases.filter(
    (name) =>
      !isPlatforms(name) &&
      !known.some((other) => isWithin(name, other)) &&
      !bases.some((other) => other !== name && isWithin(name, other)),
  );
}

/** What is to be done for an unproven name, as a reason of the tenant's status. A long one is cut at its end. */
export const unprovenInWords = (name: string, token: string) =>
  `Unproven: hostnames: add the TXT record "${token}" at ${proofNameOf(name)} to show that ${name} is yours. It is looked for every minute at first, later every hour`;

/** When a proof is looked for again after so many looks in vain, in milliseconds since 1970. */
export function nextLookAt(looks: number, now: number): number {
  const { everyMs, soonLooks, everyMaxMs } = proofLimits;
  return now + Math.min(everyMaxMs, everyMs * 2 ** Math.max(0, looks - soonLooks));
}
