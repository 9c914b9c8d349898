/** What one publication does, as a value: it is computed, asserted, and then carried out by `control/publishing`. */
import { publishLimits, snapshotLimits } from "../../schemas/limits.ts";
import type { EdgePlace, Route } from "../../schemas/snapshot.ts";
import { canonicalJson } from "../canonical.ts";
import type { ChangedTenant, LedgerRoutes } from "./changes.ts";
import type { Commit } from "./commit.ts";
import { gateRoutes } from "./gate.ts";
import { type RenderedBucket, type RenderedObject, type RouteText, renderBucket, type UnreadPart } from "./render.ts";

/** What was read of a bucket's live tree: the leaves of tenants that changed, and those that may become one leaf with them. */
export interface ReadTree {
  routes: Route[];
  unread: UnreadPart[];
  /** The objects that were read. */
  hashes: string[];
}

export interface BucketFacts {
  bucket: number;
  /** The tenants whose changes are in `now`. */
  changed: ChangedTenant[];
  live: ReadTree;
  /** The routes that belong where `live.routes` are. */
  now: LedgerRoutes;
}

/** Changes of a bucket that the gate refused. Their tenants wait alone, and are tried again with later publications. */
export interface Withheld {
  bucket: number;
  /** Each with its own reason, for its status. */
  tenants: (ChangedTenant & { reason: string })[];
  reasons: string[];
}

export interface PublishFacts {
  /** The live commit; undefined when the cell was never published. */
  live: Commit | undefined;
  /** Each bucket with changes: what is live, and what it has now. */
  buckets: BucketFacts[];
  /** The structure that edges are to have. */
  structure: Commit["structure"];
  /** The cell's edges. */
  edges: EdgePlace[];
  /** Identity of a ledger that has no commit yet. */
  incarnation: string;
  /** Milliseconds since 1970. */
  now: number;
}

export interface ChangedBucket {
  bucket: number;
  /** The bucket's first object. */
  hash: string;
  /** Objects to put before the commit, and objects of the live tree. */
  objects: RenderedObject[];
  held: string[];
  /** The routes that were read, and what they are from now on. */
  before: Route[];
  routes: Route[];
}

export interface PublishPlan {
  /** Buckets that change, in order. */
  buckets: ChangedBucket[];
  /** What the gate refused, in bucket order. The routes of these tenants stay as they are in `live`. */
  withheld: Withheld[];
  /** The commit to write; `live` itself when nothing changed. */
  commit: Commit;
}

export function planPublish(facts: PublishFacts, textOf: RouteText = canonicalJson): PublishPlan {
  const { live, structure, edges, incarnation, now } = facts;
  const buckets: PublishPlan["buckets"] = [];
  const withheld: Withheld[] = [];
  const routes = live?.routes.slice() ?? [];
  const sizes = live?.sizes.slice() ?? [];
  for (const one of facts.buckets.toSorted((a, b) => a.bucket - b.bucket)) {
    const { bucket } = one;
    const { passed, rendered, refused } = passing(one, textOf);
    if (refused !== undefined) withheld.push({ bucket, ...refused });
    const { hash, bytes } = rendered;
    if (hash === routes[bucket]) continue;
    const { routes: before, hashes: held } = one.live;
    const objects = rendered.objects.filter((object) => !held.includes(object.hash));
    buckets.push({ bucket, hash, objects, held, before, routes: passed });
    routes[bucket] = hash;
    sizes[bucket] = bytes;
  }
  const isSame = live !== undefined && sameStructure(structure, live.structure) && sameEdges(edges, live.edges);
  const unchanged = isSame && buckets.length === 0;
  const commit = unchanged
    ? live
    : {
        generation: (live?.generation ?? 0) + 1,
        incarnation: live?.incarnation ?? incarnation,
        routes,
        structure,
        edges,
        sizes,
        committedAt: now,
      };
  return { buckets, withheld, commit };
}

interface Passing {
  passed: Route[];
  rendered: RenderedBucket;
  refused: Omit<Withheld, "bucket"> | undefined;
}

/** The routes of a bucket that may be published: those of refused tenants stay as they were. */
function passing({ changed, live, now }: BucketFacts, textOf: RouteText): Passing {
  const before = live.routes;
  const reasons = new Map<string, string>();
  for (;;) {
    const { size } = reasons;
    const passed = withhold(before, now.routes, reasons);
    const refusals = gateRoutes(before, passed, now.removed);
    for (const { tenantId, reason } of refusals.tenants) reasons.set(tenantId, reasons.get(tenantId) ?? reason);
    if (reasons.size > size) continue; // what stays for their sake must pass the gate, too
    const rendered = renderBucket(passed, live.unread, textOf);
    const faults = [...refusals.bucket, ...sizeFaults(rendered)];
    if (faults.length > 0) return nothing(live, changed, faults, textOf);
    if (reasons.size === 0) return { passed, rendered, refused: undefined };
    const tenants = [...reasons.keys()]
      .sort()
      .map((tenantId) => ({ ...markOf(tenantId, changed), reason: reasons.get(tenantId)! }));
    return { passed, rendered, refused: { tenants, reasons: [...reasons.values()].sort() } };
  }
}

/** The bucket stays as it is, and every change of it waits. */
function nothing(live: ReadTree, changed: ChangedTenant[], reasons: string[], textOf: RouteText): Passing {
  const tenants = changed.map((mark) => ({ ...mark, reason: reasons.join("; ") }));
  const rendered = renderBucket(live.routes, live.unread, textOf);
  return { passed: live.routes, rendered, refused: { tenants, reasons } };
}

/** What the ledger keeps of a refusal, so that its item stays small. */
export const shortened = ({ bucket, tenants, reasons }: Withheld): Withheld => ({
  bucket,
  tenants: tenants.slice(0, publishLimits.withheldTenantsMax),
  reasons: reasons.slice(0, publishLimits.withheldReasonsMax),
});

export const sameStructure = (a: Commit["structure"], b: Commit["structure"]) => canonicalJson(a) === canonicalJson(b);

export const sameEdges = (a: EdgePlace[], b: EdgePlace[] | undefined) => canonicalJson(a) === canonicalJson(b ?? []);

const withhold = (before: Route[], next: Route[], refused: ReadonlyMap<string, string>): Route[] =>
  refused.size === 0
    ? next
    : [
        ...next.filter(({ tenantId }) => !refused.has(tenantId)),
        ...before.filter(({ tenantId }) => refused.has(tenantId)),
      ];

const markOf = (tenantId: string, changed: ChangedTenant[]): ChangedTenant => ({
  tenantId,
  slots: changed.filter((mark) => mark.tenantId === tenantId).flatMap(({ slots }) => slots),
});

function sizeFaults({ bytes }: RenderedBucket): string[] {
  const most = snapshotLimits.bucketBytesMax;
  return bytes > most ? [`${bytes} bytes in one bucket, at most ${most} are allowed`] : [];
}

/** What is withheld after a plan: its own, and what was withheld of buckets that it did not look at. */
export function withheldAfter(before: Withheld[], planned: ReadonlySet<number>, plan: PublishPlan): Withheld[] {
  const others = before.filter(({ bucket }) => !planned.has(bucket));
  return [...others, ...plan.withheld.map(shortened)].sort((a, b) => a.bucket - b.bucket);
}

/** Why a tenant's change is withheld; undefined when it is not. */
export const whyWithheld = (withheld: Withheld[], tenantId: string): string | undefined =>
  withheld.flatMap(({ tenants }) => tenants).find((tenant) => tenant.tenantId === tenantId)?.reason;

/** What is withheld in one line for each bucket. */
export const withheldInWords = (withheld: Withheld[]): string[] =>
  withheld.map(({ bucket, tenants, reasons }) => {
    const who = tenants.map(({ tenantId }) => tenantId).join(", ");
    return `bucket ${bucket}, ${who}: ${reasons.join("; ")}`;
  });
