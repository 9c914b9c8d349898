/** A model of an edge: it verifies and applies manifests with the real agent's functions, and keeps them in memory. */

import { RefusedError, verifyManifest } from "../../edge/agent/snapshot/verify.ts";
import { reportItem } from "../../schemas/report.ts";
import type { PublicKeys } from "../../schemas/signed.ts";
import { sha256 } from "../../schemas/signed.ts";
import { type Manifest, manifestKey, objectKey, type Route, RouteObject } from "../../schemas/snapshot.ts";

const roleId = "AROASIMULATED";

export type Fetch = (region: string, key: string) => string | undefined;

/**
 * Every route of a bucket, from its objects.
 * @throws Error when an object is missing or damaged
 */
export function routesBelow(first: string, fetch: (key: string) => string | undefined): Route[] {
  const text = fetch(objectKey(first));
  if (text === undefined || sha256(text) !== first) throw new Error(`object ${first} is missing`);
  const object = RouteObject.parse(JSON.parse(text));
  if ("routes" in object) return object.routes;
  return Object.values(object.parts).flatMap(({ hash }) => routesBelow(hash, fetch));
}

export class SimulatedEdge {
  readonly edgeId: string;
  readonly cell: string;
  readonly region: string;
  manifest: Manifest | undefined;
  routes: Route[] = [];
  nack: { generation: number; reason: string } | undefined;
  /** The manifest that was read last. The real agent gets 304 Not Modified for it. */
  #seen: string | undefined;
  #said = { text: "", changedAt: 0 };
  /** Until these times, it is cut off from its bucket, cut off from the Reports table, and polls late. */
  cutOffUntil = 0;
  unheardUntil = 0;
  lagUntil = 0;

  constructor(edgeId: string, cell: string, region: string) {
    this.edgeId = edgeId;
    this.cell = cell;
    this.region = region;
  }

  /** @returns whether anything changed */
  pull(fetch: Fetch, keys: PublicKeys): boolean {
    const text = fetch(this.region, manifestKey(this.cell));
    if (text === undefined || (text === this.#seen && this.nack === undefined)) return false;
    this.#seen = text;
    const before = `${this.manifest?.generation} ${JSON.stringify(this.nack)}`;
    try {
      const known = {
        cell: this.cell,
        keys,
        generation: this.manifest?.generation ?? 0,
        incarnation: this.manifest?.incarnation,
      };
      const manifest = verifyManifest(text, known);
      this.routes = manifest.routes.flatMap((hash) => routesBelow(hash, (key) => fetch(this.region, key)));
      this.manifest = manifest;
      this.nack = undefined;
    } catch (error) {
      const generation = error instanceof RefusedError ? error.generation : 0;
      this.nack = { generation, reason: (error as Error).message };
    }
    return before !== `${this.manifest?.generation} ${JSON.stringify(this.nack)}`;
  }

  /** The item that it writes into the Reports table, as the document client has it. */
  report(at: number) {
    const said = {
      region: this.region,
      appliedGeneration: this.manifest?.generation ?? 0,
      ...(this.manifest === undefined ? {} : { structure: this.manifest.structure.default }),
      serving: this.manifest !== undefined,
      rejectedRoutes: [],
      ...(this.nack === undefined ? {} : { nack: this.nack }),
    };
    const text = JSON.stringify(said);
    if (text !== this.#said.text) this.#said = { text, changedAt: at };
    const report = { ...said, at, changedAt: this.#said.changedAt };
    const item = reportItem(roleId, this.edgeId, report);
    return { id: item.id.S, beat: item.beat.BOOL, report: item.report.S };
  }
}
