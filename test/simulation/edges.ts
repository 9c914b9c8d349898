/** A model of an edge: it verifies and applies manifests with the real agent's functions, and keeps them in memory. */

import { RefusedError, verifyManifest } from "../../edge/agent/snapshot/verify.ts";
import { reportItem, structureRefused } from "../../schemas/report.ts";
import type { PublicKeys } from "../../schemas/signed.ts";
import { sha256 } from "../../schemas/signed.ts";
import { type Manifest, manifestKey, objectKey, type Route, RouteObject } from "../../schemas/snapshot.ts";

const roleId = "AROASIMULATED";

/** An edge's instance, as EC2 and the accelerator's health checks see it. */
export interface Instance {
  edgeId: string;
  region: string;
  cell: string;
  state: "running" | "shutting-down" | "terminated";
  isHealthy: () => boolean;
}

/** The text of a structure that every edge refuses. */
export const badStructure = "not a structure";

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

export class SimulatedEdge implements Instance {
  readonly edgeId: string;
  readonly cell: string;
  readonly region: string;
  state: Instance["state"] = "running";
  manifest: Manifest | undefined;
  routes: Route[] = [];
  structure: string | undefined;
  rejected: { tenantId: string; slot: number; reason: string }[] = [];
  nack: { generation: number; reason: string } | undefined;
  /** The manifest that was read last. The real agent gets 304 Not Modified for it. */
  #seen: string | undefined;
  #refusing = false;
  #said = { text: "", changedAt: 0 };
  /** Neighbours that it gets no answer through. */
  accuses: string[] = [];
  /**
   * Until these times, in virtual milliseconds: it does nothing at all, it is cut off from its bucket, its reports are
   * lost, it polls late, and it refuses new routes for SSH.
   */
  hungUntil = 0;
  cutOffUntil = 0;
  unheardUntil = 0;
  lagUntil = 0;
  refusesUntil = 0;

  readonly #now: () => number;

  /** `now` gives virtual milliseconds. */
  constructor(edgeId: string, cell: string, region: string, now: () => number) {
    this.#now = now;
    this.edgeId = edgeId;
    this.cell = cell;
    this.region = region;
  }

  get serving(): boolean {
    return this.manifest !== undefined;
  }

  /** What the accelerator's health check sees. */
  isHealthy = () => this.state !== "terminated" && this.hungUntil <= this.#now() && this.serving;

  heal(): void {
    Object.assign(this, { hungUntil: 0, cutOffUntil: 0, unheardUntil: 0, lagUntil: 0, refusesUntil: 0 });
  }

  /** Its instance is gone, and its disk with it. */
  end(): void {
    this.state = "terminated";
    this.manifest = undefined;
    this.routes = [];
  }

  /** @returns whether anything changed */
  pull(fetch: Fetch, keys: PublicKeys): boolean {
    const text = fetch(this.region, manifestKey(this.cell));
    const refusing = this.refusesUntil > this.#now();
    if (text === undefined || (text === this.#seen && this.nack === undefined && refusing === this.#refusing))
      return false;
    this.#seen = text;
    this.#refusing = refusing;
    const before = this.#state();
    try {
      const known = {
        cell: this.cell,
        keys,
        generation: this.manifest?.generation ?? 0,
        incarnation: this.manifest?.incarnation,
      };
      const manifest = verifyManifest(text, known);
      this.#apply(
        manifest.routes.flatMap((hash) => routesBelow(hash, (key) => fetch(this.region, key))),
        refusing,
      );
      this.manifest = manifest;
      this.nack = this.#moveTo(manifest, fetch);
    } catch (error) {
      const generation = error instanceof RefusedError ? error.generation : 0;
      this.nack = { generation, reason: (error as Error).message };
    }
    return before !== this.#state();
  }

  #state = () => JSON.stringify([this.manifest?.generation, this.nack, this.rejected, this.structure]);

  /** A refused route keeps its last good state, if its slot had the same tenant. */
  #apply(routes: Route[], refusing: boolean): void {
    const served = new Map(this.routes.map((route) => [route.slot, route]));
    const isRefused = (route: Route) =>
      refusing && route.protocol === "ssh" && JSON.stringify(served.get(route.slot)) !== JSON.stringify(route);
    const refused = routes.filter(isRefused);
    const kept = refused.flatMap(({ slot, tenantId }) => {
      const last = served.get(slot);
      return last?.tenantId === tenantId ? [last] : [];
    });
    this.routes = [...routes.filter((route) => !isRefused(route)), ...kept];
    this.rejected = refused.map(({ tenantId, slot }) => ({ tenantId, slot, reason: "its ranges are not known here" }));
  }

  /** Moves to the structure that the manifest has for it. Serves the routes even if it refuses that one. */
  #moveTo({ structure, generation }: Manifest, fetch: Fetch): SimulatedEdge["nack"] {
    const wanted = structure.overrides[this.edgeId] ?? structure.default;
    if (fetch(this.region, objectKey(wanted)) === badStructure)
      return { generation, reason: `${structureRefused}unknown directive` };
    this.structure = wanted;
    return undefined;
  }

  /** The item that it writes into the Reports table, as the document client has it. */
  report(at: number) {
    const said = {
      region: this.region,
      appliedGeneration: this.manifest?.generation ?? 0,
      ...(this.structure === undefined ? {} : { structure: this.structure }),
      serving: this.serving,
      ...(this.accuses.length === 0 ? {} : { accuses: this.accuses }),
      rejectedRoutes: this.rejected,
      ...(this.nack === undefined ? {} : { nack: this.nack }),
    };
    const text = JSON.stringify(said);
    if (text !== this.#said.text) this.#said = { text, changedAt: at };
    const report = { ...said, at, changedAt: this.#said.changedAt };
    const item = reportItem(roleId, this.edgeId, report);
    return { id: item.id.S, beat: item.beat.BOOL, report: item.report.S };
  }
}
