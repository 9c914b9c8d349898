import type { Route } from "../../schemas/snapshot.ts";
import { canonicalJson } from "../canonical.ts";

/** Tenants whose routes are not the same in both lists, in order. */
export function routeDifferences(live: Route[], ledger: Route[]): string[] {
  const texts = (routes: Route[]) =>
    new Map(routes.map((route) => [route.slot, { route, text: canonicalJson(route) }]));
  const [before, after] = [texts(live), texts(ledger)];
  const tenants = new Set<string>();
  for (const [one, other] of [
    [before, after],
    [after, before],
  ] as const)
    for (const [slot, { route, text }] of one) if (other.get(slot)?.text !== text) tenants.add(route.tenantId);
  return [...tenants].sort();
}
