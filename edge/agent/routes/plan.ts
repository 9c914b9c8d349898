/** What new leaves change: which routes are served, and which files are written and removed for that. Pure. */
import * as z from "zod";
import { edgeLimits } from "../../../schemas/limits.ts";
import { type AddressesOf, type RouteContext, routeFiles } from "./route-files.ts";
import type { ServedRoute } from "./served.ts";

/** A leaf whose routes are only parsed loosely: each route is validated separately. */
export const LooseLeaf = z.object({
  routes: z.array(z.looseObject({ slot: z.number().int(), tenantId: z.string() })),
});
export type LooseLeaf = z.infer<typeof LooseLeaf>;
type LooseRoute = LooseLeaf["routes"][number];

/** What a leaf has now, and the slots whose routes are as they were applied last. */
export interface LeafChange extends LooseLeaf {
  same?: ReadonlySet<number>;
}

export interface Rejected {
  tenantId: string;
  slot: number;
  reason: string;
}

/** The slots whose routes are the same in both. */
export function sameSlots(before: LooseLeaf, after: LooseLeaf): Set<number> {
  const texts = new Map(before.routes.map((route) => [route.slot, JSON.stringify(route)]));
  return new Set(
    after.routes.flatMap((route) => (texts.get(route.slot) === JSON.stringify(route) ? [route.slot] : [])),
  );
}

/** What is served, as far as a plan needs it. */
export interface Known {
  /** The files may not be what the records say: all are written. */
  torn: boolean;
  /** The routes of this leaf, and those of its routes that were refused, by slot. */
  before: ReadonlyMap<number, ServedRoute>;
  refused: ReadonlySet<number>;
  /** The last good state of a route that is refused now, wherever it was. */
  lastGood(route: LooseRoute): ServedRoute | undefined;
  /** Whose a file is. */
  ownerOf(file: string): ServedRoute | undefined;
  /** The DNS names of backends, by slot, and the addresses that they have now. */
  named: Named;
  addressesOf: AddressesOf;
}

/** The DNS names that routes' backends have, by slot. */
export type Named = ReadonlyMap<number, string[]>;

export interface LeafPlan {
  /** The routes to serve, by slot. */
  after: Map<number, ServedRoute>;
  rejected: Rejected[];
  /** Refused routes that stay as they were. */
  kept: ServedRoute[];
  writes: { route: ServedRoute; files: string[] }[];
  named: Map<number, string[]>;
  /** Files that the leaf's routes had and have no more. They are removed unless another route has them then. */
  stale: { owner: ServedRoute; file: string }[];
}

export function planLeaf({ routes, same }: LeafChange, context: RouteContext, known: Known): LeafPlan {
  const plan: LeafPlan = { after: new Map(), rejected: [], kept: [], writes: [], named: new Map(), stale: [] };
  for (const route of routes) {
    const before = known.before.get(route.slot);
    if (before !== undefined && same?.has(route.slot) && !known.refused.has(route.slot) && !known.torn) {
      plan.after.set(route.slot, before);
      const names = known.named.get(route.slot);
      if (names !== undefined) plan.named.set(route.slot, names);
      continue;
    }
    const made = routeFiles(route, context, known.addressesOf);
    if (made.names !== undefined) plan.named.set(route.slot, made.names);
    if (made.ok) {
      const isEqual = before !== undefined && JSON.stringify(before) === JSON.stringify(made.route);
      const served = isEqual ? before : sharing(before, made.route);
      plan.after.set(served.slot, served);
      if (!isEqual || known.torn) plan.writes.push({ route: served, files: served.files });
      continue;
    }
    const reason = made.reason.slice(0, edgeLimits.reasonCharactersMax);
    plan.rejected.push({ tenantId: route.tenantId, slot: made.slot, reason });
    const last = known.lastGood({ ...route, slot: made.slot });
    if (last?.tenantId !== route.tenantId) continue; // the slot had another tenant
    plan.kept.push(last);
    plan.after.set(made.slot, last);
    plan.writes.push({ route: last, files: ownFiles(last, known.ownerOf) });
  }
  for (const [slot, owner] of known.before) {
    const now = plan.after.get(slot);
    if (now === owner) continue;
    for (const file of owner.files) if (!now?.files.includes(file)) plan.stale.push({ owner, file });
  }
  return plan;
}

/** The route with the texts of the one before where they are equal: an edge's maps hold those as keys already. */
function sharing(before: ServedRoute | undefined, route: ServedRoute): ServedRoute {
  if (before === undefined) return route;
  const known = new Map([...before.files, ...before.target.groups, before.tenantId].map((text) => [text, text]));
  const same = (text: string) => known.get(text) ?? text;
  const { tenantId, files, target } = route;
  return {
    ...route,
    tenantId: same(tenantId),
    files: files.map(same),
    target: { ...target, groups: target.groups.map(same) },
  };
}

/** A route's files, except those that another route owns now: a refused route must not take a name back. */
export const ownFiles = (route: ServedRoute, ownerOf: Known["ownerOf"]): string[] =>
  route.files.filter((file) => [undefined, route].includes(ownerOf(file)));

/** The stale files that are still their former routes' once all plans are written. */
export function removals(plans: Pick<LeafPlan, "kept" | "stale">[], ownerOf: Known["ownerOf"]): string[] {
  const kept = new Set(plans.flatMap((plan) => plan.kept)); // a refused route may be in another leaf now
  return plans.flatMap(({ stale }) =>
    stale.flatMap(({ owner, file }) => (ownerOf(file) === owner && !kept.has(owner) ? [file] : [])),
  );
}
