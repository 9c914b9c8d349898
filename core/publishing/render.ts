/** Renders the objects that edges pull. Equal state gives equal bytes. */
import { snapshotLimits } from "../../schemas/limits.ts";
import { sha256 } from "../../schemas/signed.ts";
import type { Manifest, Route, RouteBranch, RouteObject, RoutePart } from "../../schemas/snapshot.ts";
import { canonicalJson } from "../canonical.ts";
import { digitsOf } from "../routes/buckets.ts";

/** The canonical text of one route. A caller may remember texts: most routes of a bucket do not change. */
export type RouteText = (route: Route) => string;

export interface RenderedObject {
  hash: string;
  text: string;
  object: RouteObject;
}

/** A part of a bucket that was not read, and its digits from the bucket's first object on: it stays as it is. */
export interface UnreadPart {
  digits: string;
  part: RoutePart;
}

/** A bucket's tree: the hash of its first object, the bytes of all its routes, and its objects, the first one last. */
export interface RenderedBucket {
  hash: string;
  bytes: number;
  objects: RenderedObject[];
}

/**
 * A bucket is one leaf until its routes have more than `leafBytesMax` bytes. A branch then divides it by the next digit
 * of its tenants, and so on. The shape follows from the routes alone, whatever was published before.
 * @throws Error when a part was not read that belongs into a leaf now
 */
export function renderBucket(
  routes: Route[],
  unread: UnreadPart[] = [],
  textOf: RouteText = canonicalJson,
): RenderedBucket {
  const objects: RenderedObject[] = [];
  const add = (object: RouteObject, text: string) => {
    const hash = sha256(text);
    objects.push({ hash, text, object });
    return hash;
  };
  function render(digits: string, here: SizedRoute[], parts: UnreadPart[]): RoutePart {
    const [only] = parts;
    if (only?.digits === digits) return only.part;
    const bytes = here.reduce((sum, route) => sum + route.bytes, bytesIn(parts));
    if (bytes <= snapshotLimits.leafBytesMax || digits.length === snapshotLimits.digits) {
      if (only !== undefined) throw new Error(`part ${only.digits} must be read: it belongs into a leaf`);
      const ordered = here.toSorted((a, b) => a.route.slot - b.route.slot);
      const text = `{"routes":[${ordered.map((route) => route.text).join(",")}]}\n`;
      return { kind: "leaf", hash: add({ routes: ordered.map(({ route }) => route) }, text), bytes };
    }
    const at = digits.length;
    const routesBy = Map.groupBy(here, ({ route }) => digitsOf(route.tenantId)[at]!);
    const partsBy = Map.groupBy(parts, (part) => part.digits[at]!);
    const branch: RouteBranch = { parts: {} };
    for (const digit of [...new Set([...routesBy.keys(), ...partsBy.keys()])].sort())
      branch.parts[digit] = render(digits + digit, routesBy.get(digit) ?? [], partsBy.get(digit) ?? []);
    return { kind: "branch", hash: add(branch, renderObject(branch)), bytes };
  }
  const { hash, bytes } = render(
    "",
    routes.map((route) => sized(route, textOf)),
    unread,
  );
  return { hash, bytes, objects };
}

/** A route, its text, and its bytes in a leaf, with the comma behind it. */
interface SizedRoute {
  route: Route;
  text: string;
  bytes: number;
}

function sized(route: Route, textOf: RouteText): SizedRoute {
  const text = textOf(route);
  return { route, text, bytes: Buffer.byteLength(text) + 1 };
}

export const bytesIn = (parts: UnreadPart[]) => parts.reduce((sum, { part }) => sum + part.bytes, 0);

/** The bytes of an object that was read, as text. */
export const renderObject = (object: RouteObject): string => `${canonicalJson(object)}\n`;

export function renderManifest(manifest: Manifest): string {
  return `${canonicalJson({ ...manifest, keyIds: manifest.keyIds.toSorted() })}\n`;
}
