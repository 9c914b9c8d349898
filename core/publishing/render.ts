/** Renders the objects that edges pull. Equal state gives equal bytes. */
import type { Manifest, Route } from "../../schemas/snapshot.ts";
import { canonicalJson } from "../canonical.ts";

/** The canonical text of one route. A caller may remember texts: most routes of a bucket do not change. */
export type RouteText = (route: Route) => string;

/** A `RouteBucket`'s bytes as text, in slot order. The order of `routes` does not matter. */
export function renderBucket(routes: Route[], textOf: RouteText = canonicalJson): string {
  const ordered = routes.toSorted((a, b) => a.slot - b.slot);
  return `{"routes":[${ordered.map((route) => textOf(route)).join(",")}]}\n`;
}

export function renderManifest(manifest: Manifest): string {
  return `${canonicalJson({ ...manifest, keyIds: manifest.keyIds.toSorted() })}\n`;
}
