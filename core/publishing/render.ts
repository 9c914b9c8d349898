import { bucketCount, type Manifest, type Route, type RouteBucket } from "../../schemas/snapshot.ts";
import { canonicalJson } from "../canonical.ts";

/** An object's bytes as text. Same routes, same bytes, whatever their order was. */
export function renderBucket(routes: Route[]): string {
  const bucket: RouteBucket = { routes: routes.toSorted((a, b) => a.slot - b.slot) };
  return `${canonicalJson(bucket)}\n`;
}

export function renderManifest(manifest: Manifest): string {
  return `${canonicalJson({ ...manifest, keyIds: manifest.keyIds.toSorted() })}\n`;
}

export const everyBucket = Array.from({ length: bucketCount }, (_, bucket) => bucket);
