/** What one publication does, as a value: it is computed, asserted, and then carried out by `control/publishing`. */
import { snapshotLimits } from "../../schemas/limits.ts";
import { sha256 } from "../../schemas/signed.ts";
import type { Route } from "../../schemas/snapshot.ts";
import { canonicalJson } from "../canonical.ts";
import type { LedgerRoutes } from "./changes.ts";
import type { Commit } from "./commit.ts";
import { gateRoutes } from "./gate.ts";
import { type RouteText, renderBucket } from "./render.ts";

export interface PublishFacts {
  /** The live commit; undefined when the cell was never published. */
  live: Commit | undefined;
  /** Each bucket with changes: the routes that are live, and those that it has now. */
  buckets: { bucket: number; before: Route[]; now: LedgerRoutes }[];
  /** The structure that edges are to have. */
  structure: Commit["structure"];
  /** Identity of a ledger that has no commit yet. */
  incarnation: string;
  /** Milliseconds since 1970. */
  now: number;
}

export interface PublishPlan {
  /** Objects to put before the commit, in bucket order. */
  objects: { bucket: number; hash: string; text: string; routes: Route[] }[];
  /** Buckets that the gate refused, with the reasons. Their routes stay as they are in `live`. */
  refused: { bucket: number; reasons: string[] }[];
  /** The commit to write; `live` itself when nothing changed. */
  commit: Commit;
}

export function planPublish(facts: PublishFacts, textOf: RouteText = canonicalJson): PublishPlan {
  const { live, structure, incarnation, now } = facts;
  const objects: PublishPlan["objects"] = [];
  const refused: PublishPlan["refused"] = [];
  const routes = live?.routes.slice() ?? [];
  const sizes = live?.sizes.slice() ?? [];
  for (const { bucket, before, now: after } of facts.buckets.toSorted((a, b) => a.bucket - b.bucket)) {
    const text = renderBucket(after.routes, textOf);
    const hash = sha256(text);
    if (hash === routes[bucket]) continue;
    const bytes = Buffer.byteLength(text);
    const reasons = gateRoutes(before, after.routes, after.removed);
    if (bytes > snapshotLimits.bucketBytesMax)
      reasons.push(`${bytes} bytes, at most ${snapshotLimits.bucketBytesMax} are allowed`);
    if (reasons.length > 0) {
      refused.push({ bucket, reasons });
      continue;
    }
    objects.push({ bucket, hash, text, routes: after.routes });
    routes[bucket] = hash;
    sizes[bucket] = bytes;
  }
  const unchanged = live !== undefined && objects.length === 0 && sameStructure(structure, live.structure);
  const commit = unchanged
    ? live
    : {
        generation: (live?.generation ?? 0) + 1,
        incarnation: live?.incarnation ?? incarnation,
        routes,
        structure,
        sizes,
        committedAt: now,
      };
  return { objects, refused, commit };
}

export const sameStructure = (a: Commit["structure"], b: Commit["structure"]) => canonicalJson(a) === canonicalJson(b);

/** The refusals of a plan in one line for each bucket. */
export const refusalsInWords = ({ refused }: Pick<PublishPlan, "refused">): string[] =>
  refused.map(({ bucket, reasons }) => `bucket ${bucket}: ${reasons.join("; ")}`);
