import { rolloutLimits } from "../../schemas/limits.ts";

/** How many rollouts a tenant may still start at once, as of a time in milliseconds: a token bucket. */
export interface Credit {
  left: number;
  at: number;
}

/** Tenants of one delivery: those whose rollout starts now, and those that write so often that they take turns. */
export interface Pace {
  atOnce: string[];
  turns: string[];
}

export function paceOf(tenantIds: string[], credits: ReadonlyMap<string, Credit>, now: number): Pace {
  const has = (tenantId: string) => creditOf(credits.get(tenantId), now) >= 1;
  return { atOnce: tenantIds.filter(has), turns: tenantIds.filter((tenantId) => !has(tenantId)) };
}

/** The credits after rollouts of these tenants started. Full credits are left out. */
export function spend(tenantIds: string[], credits: ReadonlyMap<string, Credit>, now: number): Map<string, Credit> {
  const next = new Map([...credits].filter(([, credit]) => creditOf(credit, now) < rolloutLimits.paceBurst));
  for (const tenantId of tenantIds) next.set(tenantId, { left: creditOf(credits.get(tenantId), now) - 1, at: now });
  return next;
}

function creditOf(credit: Credit | undefined, now: number): number {
  const { paceBurst, paceMs } = rolloutLimits;
  return credit === undefined ? paceBurst : Math.min(paceBurst, credit.left + (now - credit.at) / paceMs);
}
