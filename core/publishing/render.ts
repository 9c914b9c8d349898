import { bucketCount, type Manifest, type Route } from "../../schemas/snapshot.ts";
import { canonicalJson } from "../canonical.ts";

/** Texts of routes that were rendered before: most of a bucket is what it was. */
const texts = new WeakMap<Route, string>();

function textOf(route: Route): string {
  const text = texts.get(route) ?? canonicalJson(route);
  texts.set(route, text);
  return text;
}

/** A `RouteBucket`'s bytes as text. Same routes, same bytes, whatever their order was. */
export function renderBucket(routes: Route[]): string {
  const ordered = routes.toSorted((a, b) => a.slot - b.slot);
  return `{"routes":[${ordered.map(textOf).join(",")}]}\n`;
}

export function renderManifest(manifest: Manifest): string {
  return `${canonicalJson({ ...manifest, keyIds: manifest.keyIds.toSorted() })}\n`;
}

export const everyBucket = Array.from({ length: bucketCount }, (_, bucket) => bucket);
