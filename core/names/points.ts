/** Who holds a name, its wildcard and what lies below it: one point of the ledger. */
import { tenantLimits } from "../../schemas/limits.ts";
import { type ClaimKind, partsOf } from "./claims.ts";

/** A tenant's hold. A released one counts as held until no edge can serve it any more. Times in milliseconds since 1970. */
export interface Hold {
  tenantId: string;
  owner: string;
  cell: string;
  since: number;
  releasedAt?: number;
  /** Of a released one: when an operator ended its cool-off. It is still held until no edge can serve it. */
  waivedAt?: number;
  /** Of a released one: what audits noted (`core/audit/tombstones.ts`). */
  seenAt?: number;
  absentFrom?: number;
}

/** An operator's word that one tenant alone may have a name, its wildcard and what lies below it. */
export interface Grant {
  tenantId: string;
  /** Milliseconds since 1970. */
  at: number;
  by: string;
  why: string;
}

export interface Point {
  point: string;
  /** Changes with every write of the point, and never comes back. */
  stamp: string;
  name?: Hold;
  wildcard?: Hold;
  /** Those who hold something below it, by tenant. */
  below: Map<string, Hold>;
  grant?: Grant;
}

export interface Claimant {
  tenantId: string;
  owner: string;
}

/** A claim, and whose it is. */
export interface Claimed extends Claimant {
  claim: string;
}

/** A claim that another tenant's hold, a grant to another tenant, or the number of those below prevents. */
export interface Contest {
  claim: string;
  /** What the other tenant holds of the same name. */
  kind: ClaimKind | "grant" | "full";
  /** Of the other tenant. A name that is full has too many to name one. */
  hold?: Pick<Hold, "tenantId" | "releasedAt">;
}

const { tenantsBelowMax } = tenantLimits;

/** All holds of a point, each with the claim that it stands for. */
export const holdsOf = ({ point, name, wildcard, below }: Point): { kind: ClaimKind; claim: string; hold: Hold }[] => [
  ...(name === undefined ? [] : [{ kind: "name" as const, claim: point, hold: name }]),
  ...(wildcard === undefined ? [] : [{ kind: "wildcard" as const, claim: `*.${point}`, hold: wildcard }]),
  ...[...below.values()].map((hold) => ({ kind: "below" as const, claim: `@${point}`, hold })),
];

/**
 * The hold that prevents a claim. A name and a wildcard have one tenant each, and with everything below them one owner. So
 * tenants of several owners may all have something below a name, as long as nobody has that name or its wildcard.
 */
export function contestOf(claim: string, { tenantId, owner }: Claimant, point: Point | undefined): Contest | undefined {
  const { kind } = partsOf(claim);
  const { grant } = point ?? {};
  if (grant !== undefined && grant.tenantId !== tenantId) return { claim, kind: "grant", hold: grant };
  const others = (point === undefined ? [] : holdsOf(point)).filter(({ hold }) => hold.tenantId !== tenantId);
  const found = others.find((other) => {
    if (other.kind === kind && kind !== "below") return true;
    return other.hold.owner !== owner && (kind !== "below" || other.kind !== "below");
  });
  if (found !== undefined) return { claim, kind: found.kind, hold: found.hold };
  const isFull = kind === "below" && others.filter((other) => other.kind === "below").length >= tenantsBelowMax;
  return isFull ? { claim, kind: "full" } : undefined;
}

/** Adds a hold to the points, or replaces the tenant's own, if no hold of another tenant prevents that. */
export function addHold(points: Map<string, Point>, claim: string, hold: Hold, stamp: string): void {
  const { point, kind } = partsOf(claim);
  const before = points.get(point) ?? { point, stamp, below: new Map() };
  if (contestOf(claim, hold, before) !== undefined) return;
  const below = kind === "below" ? new Map(before.below).set(hold.tenantId, hold) : before.below;
  points.set(point, { ...before, stamp, below, ...(kind === "below" ? {} : { [kind]: hold }) });
}

/** Two holds of a point that must not be side by side; undefined if there are none. */
export function conflictIn(point: Point): [Hold, Hold] | undefined {
  const holds = holdsOf(point);
  for (const [index, { kind, hold }] of holds.entries())
    for (const other of holds.slice(index + 1))
      if (hold.tenantId !== other.hold.tenantId && hold.owner !== other.hold.owner && kind !== "below")
        return [hold, other.hold];
  return undefined;
}

/** A contest as the reason of a refusal. */
export function contestInWords({ claim, kind, hold }: Contest): string {
  const { point, kind: wanted } = partsOf(claim);
  const field = wanted === "wildcard" ? "wildcards" : "hostnames";
  const name = wanted === "below" ? `what lies below ${point}` : claim;
  if (kind === "full")
    return `${field}: ${tenantsBelowMax} tenants have names below ${point} already: use a name below another domain, or ask the platform's operators to make ${point} one of the platform's domains`;
  if (kind === "grant") return `${field}: ${name} is kept for another tenant by the platform's operators`;
  const givenUp = hold?.releasedAt === undefined ? "" : ", which gave it up: it is still reserved for that tenant";
  if (wanted === "below")
    return `${field}: all names below ${point} belong to the tenant of ${kind === "wildcard" ? "*." : ""}${point}${givenUp}`;
  if (kind === "below") return `${field}: ${claim} is above a name of another tenant${givenUp}`;
  return `${field}: ${claim} belongs to another tenant${givenUp}`;
}
