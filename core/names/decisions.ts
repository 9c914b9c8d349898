/** What an operator decides about a name: who alone may have it, and that what was given up need not cool off. Pure. */
import { type Grant, holdsOf, type Point } from "./points.ts";

/** A decision as it is kept, beside the name. Times in milliseconds since 1970. */
export interface Decision {
  action: "grant" | "release";
  at: number;
  by: string;
  why: string;
  /** Whom it was granted to. */
  tenantId?: string;
  /** What was held of the name before, as claims with their tenants, and the grant. */
  before: string[];
}

/** The point after a decision; undefined if nothing is left of it. */
export type Decided = { ok: true; point: Point | undefined } | { ok: false; reason: string };

const stampOf = (action: string, at: number) => `${action} ${at}`;

/** What is held of a name, and by whom, for the record. */
export function heldInWords(point: Point | undefined): string[] {
  if (point === undefined) return [];
  const { grant } = point;
  const holds = holdsOf(point).map(({ claim, hold }) => `${claim} ${hold.tenantId}`);
  return grant === undefined ? holds : [...holds, `granted ${grant.tenantId}`];
}

/** Keeps a name for one tenant. What others gave up still has to cool off, and what they have is not taken from them. */
export function grantTo(name: string, point: Point | undefined, grant: Grant): Decided {
  const other = point && holdsOf(point).find(({ hold }) => hold.tenantId !== grant.tenantId && !isReleased(hold));
  if (other !== undefined) {
    const what = other.claim.startsWith("@") ? `something below ${name}` : other.claim;
    const { tenantId } = other.hold;
    return { ok: false, reason: `${tenantId} has ${what}: take it out of the record of ${tenantId} first` };
  }
  const granted = { ...(point ?? { point: name, below: new Map() }), stamp: stampOf("grant", grant.at), grant };
  return { ok: true, point: granted };
}

/** Ends a grant, and the cool-off of what was given up. It stays held until no edge can serve it. */
export function release(name: string, point: Point | undefined, at: number): Decided {
  if (point === undefined) return { ok: false, reason: `nobody has ${name}, and it is kept for nobody` };
  const holds = holdsOf(point);
  const waiting = holds.filter(({ hold }) => isReleased(hold) && hold.waivedAt === undefined);
  if (point.grant === undefined && waiting.length === 0) {
    const [active] = holds.filter(({ hold }) => !isReleased(hold));
    return active === undefined
      ? { ok: false, reason: `${name} is released already: it is free when no edge can serve it` }
      : { ok: false, reason: `${active.hold.tenantId} has it in its record: take it out of the record first` };
  }
  const { name: own, wildcard, below } = point;
  const waived = <T extends { releasedAt?: number; waivedAt?: number }>(hold: T): T =>
    isReleased(hold) ? { ...hold, waivedAt: hold.waivedAt ?? at } : hold;
  if (holds.length === 0) return { ok: true, point: undefined };
  return {
    ok: true,
    point: {
      point: name,
      stamp: stampOf("release", at),
      ...(own === undefined ? {} : { name: waived(own) }),
      ...(wildcard === undefined ? {} : { wildcard: waived(wildcard) }),
      below: new Map([...below].map(([tenantId, hold]) => [tenantId, waived(hold)])),
    },
  };
}

const isReleased = ({ releasedAt }: { releasedAt?: number }) => releasedAt !== undefined;
