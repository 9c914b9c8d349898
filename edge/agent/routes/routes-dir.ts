/** The directory of route files that the router reads. Each file is replaced atomically. */
import { mkdirSync, readdirSync, rmSync } from "node:fs";
import path from "node:path";
import * as z from "zod";
import { edgeLimits } from "../../../schemas/limits.ts";
import type { SessionLimits } from "../../../schemas/tenant.ts";
import type { BackendCheck } from "../backends/connect.ts";
import { readIfThere, unfinished, writeAtomically } from "../files.ts";
import { readContent, routeContent } from "./content.ts";
import { type RouteContext, routeFiles } from "./route-files.ts";
import { backendsOf, type ServedRoute, type ServedTarget, targetOf } from "./served.ts";

/** A leaf whose routes are only parsed loosely: each route is validated separately. */
export const LooseLeaf = z.object({
  routes: z.array(z.looseObject({ slot: z.number().int(), tenantId: z.string() })),
});
export type LooseLeaf = z.infer<typeof LooseLeaf>;

export interface Rejected {
  tenantId: string;
  slot: number;
  reason: string;
}

const kinds = ["n", "w", "p"];
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

export class RoutesDir {
  readonly #dir: string;
  readonly #isUp: (backend: string) => boolean;
  /** The routes of each leaf, by slot. */
  readonly #leaves = new Map<string, Map<number, ServedRoute>>();
  /** The route that is served at each slot. */
  readonly #served = new Map<number, ServedRoute>();
  /** The route that owns each file: a route that lost a name must not delete the new owner's file. */
  readonly #owners = new Map<string, ServedRoute>();
  /** The routes that use each backend. */
  readonly #users = new Map<string, Set<ServedRoute>>();
  /** The routes of each tenant. */
  readonly #ofTenant = new Map<string, Set<ServedRoute>>();
  /** More options of a tenant's files: its limits are reached. */
  readonly #limited = new Map<string, string[]>();
  /** The content of each file on disk. */
  readonly #contents = new Map<string, string>();
  readonly #rejected = new Map<string, Rejected[]>();
  /** True if no snapshot was applied yet, or the last one only in part: files may exist that belong to no route. */
  #torn = true;
  /** Backends whose health changed since the last `apply` began. */
  readonly #changed = new Set<string>();

  /** Takes over the files of an earlier run, and deletes its half-written ones. */
  constructor(dir: string, isUp: (backend: string) => boolean = () => true) {
    this.#dir = dir;
    this.#isUp = isUp;
    for (const kind of kinds) {
      mkdirSync(path.join(dir, kind), { recursive: true, mode: 0o755 });
      for (const name of readdirSync(path.join(dir, kind))) {
        const file = `${kind}/${name}`;
        if (name.endsWith(unfinished)) rmSync(path.join(dir, file));
        else this.#contents.set(file, readIfThere(path.join(dir, file)) ?? "");
      }
    }
  }

  get rejected(): Rejected[] {
    return [...this.#rejected.values()].flat().sort((a, b) => a.slot - b.slot);
  }

  get files(): number {
    return this.#contents.size;
  }

  /** How a backend is checked: as the first route that named it says. Undefined when a connection is enough. */
  checkOf(backend: string): BackendCheck | undefined {
    const [route] = this.#users.get(backend) ?? [];
    const targets = route === undefined ? [] : [route.target, ...Object.values(route.byAlpn)];
    return targets.find(({ groups }) => groups.some((group) => group.includes(backend)))?.check;
  }

  /** Every backend of every route. */
  get backends(): Iterable<string> {
    return this.#users.keys();
  }

  /** Is this tenant served at this slot? */
  serves(slot: number, tenantId: string): boolean {
    return this.#served.get(slot)?.tenantId === tenantId;
  }

  tenants(): Set<string> {
    return new Set(this.#ofTenant.keys());
  }

  /** A tenant's own limits of sessions. */
  sessionLimitsOf(tenantId: string): Partial<SessionLimits> {
    const [route] = this.#ofTenant.get(tenantId) ?? [];
    return route?.sessionLimits ?? {};
  }

  /** The tenants whose limits are reached, with the options that say so. */
  get limited(): ReadonlyMap<string, string[]> {
    return this.#limited;
  }

  /** Adds these options to a tenant's files from now on. After a failure, for example on a full disk, it can be repeated. */
  limit(tenantId: string, options: string[]): void {
    const before = this.#limited.get(tenantId) ?? [];
    if (before.join() === options.join()) return;
    this.#setLimited(tenantId, options);
    try {
      for (const route of this.#ofTenant.get(tenantId) ?? []) this.#write(this.#ownOf(route), route);
    } catch (error) {
      this.#setLimited(tenantId, before);
      throw error;
    }
  }

  #setLimited(tenantId: string, options: string[]): void {
    if (options.length === 0) this.#limited.delete(tenantId);
    else this.#limited.set(tenantId, options);
  }

  /**
   * Serves these leaves from now on; one that is gone is given without routes. A refused route keeps its last good
   * state. Writes new files before it removes old ones, and updates its own records only after both: after a failure,
   * the whole call is repeated. Yields to other tasks after each leaf, because tens of thousands of files take seconds.
   */
  async apply(leaves: Map<string, LooseLeaf>, context: RouteContext): Promise<void> {
    const torn = this.#torn;
    this.#torn = true;
    this.#changed.clear();
    const made: { leaf: string; after: Map<number, ServedRoute>; rejected: Rejected[] }[] = [];
    const stale: { owner: ServedRoute; file: string }[] = [];
    const keptAnywhere = new Set<ServedRoute>(); // a refused route may be in another leaf now
    for (const [leaf, { routes }] of leaves) {
      const served = this.#servedOf(routes, context);
      made.push({ leaf, ...served });
      const { after, kept } = served;
      for (const route of kept) keptAnywhere.add(route);
      for (const route of after.values()) this.#write(kept.has(route) ? this.#ownOf(route) : route.files, route);
      for (const [slot, owner] of this.#leaves.get(leaf) ?? [])
        for (const file of owner.files) if (!after.get(slot)?.files.includes(file)) stale.push({ owner, file });
      await turn();
    }
    for (const { owner, file } of stale)
      if (this.#owners.get(file) === owner && !keptAnywhere.has(owner)) this.#remove(file);
    for (const { leaf } of made) for (const route of this.#leaves.get(leaf)?.values() ?? []) this.#index(route, false);
    for (const { leaf, after, rejected } of made) {
      for (const route of after.values()) this.#index(route, true);
      if (after.size > 0) this.#leaves.set(leaf, after);
      else this.#leaves.delete(leaf);
      if (rejected.length > 0) this.#rejected.set(leaf, rejected);
      else this.#rejected.delete(leaf);
    }
    this.refresh(this.#changed);
    this.#torn = false;
    if (torn) this.#sweep();
  }

  /** Rewrites the routes of these backends, because their health changed. */
  refresh(backends: Iterable<string>): void {
    const changed = [...backends];
    for (const backend of changed) this.#changed.add(backend);
    const routes = new Set(changed.flatMap((backend) => [...(this.#users.get(backend) ?? [])]));
    for (const route of routes) this.#write(this.#ownOf(route), route);
  }

  /** A route's files, except those that another route owns now: a refused route must not take a name back. */
  #ownOf(route: ServedRoute): string[] {
    return route.files.filter((file) => [undefined, route].includes(this.#owners.get(file)));
  }

  #servedOf(routes: LooseLeaf["routes"], context: RouteContext) {
    const after = new Map<number, ServedRoute>();
    const rejected: Rejected[] = [];
    const kept = new Set<ServedRoute>();
    for (const route of routes) {
      const made = routeFiles(route, context);
      if (made.ok) {
        after.set(made.route.slot, made.route);
        continue;
      }
      rejected.push({
        tenantId: route.tenantId,
        slot: made.slot,
        reason: made.reason.slice(0, edgeLimits.reasonCharactersMax),
      });
      const last = this.#served.get(made.slot) ?? this.#leftBy(route);
      if (last?.tenantId !== route.tenantId) continue; // the slot had another tenant
      kept.add(last);
      after.set(made.slot, last);
    }
    return { after, kept, rejected };
  }

  /** The last good state of a route that is refused now, from the files that an earlier run left. */
  #leftBy({ slot, hostnames, wildcards, port, alpn }: LooseLeaf["routes"][number]): ServedRoute | undefined {
    const mains = [
      ...(Array.isArray(hostnames) ? hostnames.map((name) => `n/${String(name)}`) : []),
      ...(Array.isArray(wildcards) ? wildcards.map((wildcard) => `w/${String(wildcard).slice(2)}`) : []),
      ...(typeof port === "number" ? [`p/${port}`] : []),
    ];
    const entries = typeof alpn === "object" && alpn !== null ? Object.keys(alpn) : [];
    const left = mains
      .flatMap((main) => [main, ...entries.map((entry) => `${main}@${entry}`)])
      .flatMap((file) => {
        const content = this.#owners.has(file) ? undefined : readContent(this.#contents.get(file) ?? "");
        return content?.slot === slot ? [{ file, ...content }] : [];
      });
    const first = left.find(({ file }) => !file.includes("@"));
    if (first === undefined) return undefined;
    const { tenantId, target } = first;
    const own = left.filter((one) => one.tenantId === tenantId);
    const byAlpn = own.flatMap(({ file, target }) => {
      const at = file.indexOf("@");
      return at < 0 ? [] : [[file.slice(at + 1), target] as const];
    });
    return { slot, tenantId, files: own.map(({ file }) => file), target, byAlpn: Object.fromEntries(byAlpn) };
  }

  /** Removes files that belong to no route: left by an earlier run, or by a snapshot that was applied only in part. */
  #sweep(): void {
    const routes = [...this.#leaves.values()].flatMap((leaf) => [...leaf.values()]);
    const owned = new Set(routes.flatMap(({ files }) => files));
    for (const file of [...this.#contents.keys()]) if (!owned.has(file)) this.#remove(file);
  }

  #index(route: ServedRoute, serves: boolean): void {
    if (serves) this.#served.set(route.slot, route);
    else this.#served.delete(route.slot);
    const own = this.#ofTenant.get(route.tenantId) ?? new Set();
    if (serves) this.#ofTenant.set(route.tenantId, own.add(route));
    else if (own.delete(route) && own.size === 0) this.#ofTenant.delete(route.tenantId);
    for (const backend of backendsOf(route)) {
      const users = this.#users.get(backend) ?? new Set();
      if (serves) this.#users.set(backend, users.add(route));
      else if (users.delete(route) && users.size === 0) this.#users.delete(backend);
    }
  }

  #write(files: string[], owner: ServedRoute): void {
    const contents = new Map<ServedTarget, string>();
    for (const file of files) {
      const target = targetOf(owner, file);
      const content = contents.get(target) ?? this.#contentOf(owner, target);
      contents.set(target, content);
      this.#owners.set(file, owner);
      if (this.#contents.get(file) === content) continue;
      writeAtomically(path.join(this.#dir, file), content);
      this.#contents.set(file, content);
    }
  }

  #contentOf({ slot, tenantId }: ServedRoute, target: ServedTarget): string {
    const options = [...(this.#limited.get(tenantId) ?? []), ...target.options];
    return routeContent({ slot, tenantId, target: { ...target, options } }, this.#isUp);
  }

  #remove(file: string): void {
    rmSync(path.join(this.#dir, file), { force: true });
    this.#owners.delete(file);
    this.#contents.delete(file);
  }
}
