/** The directory of route files that the router reads. Each file is replaced atomically. */
import { mkdirSync, readdirSync, rmSync } from "node:fs";
import path from "node:path";
import type { SessionLimits } from "../../../schemas/tenant.ts";
import type { BackendSet } from "../backends/backends.ts";
import type { BackendCheck } from "../backends/connect.ts";
import { readIfThere, unfinished, writeAtomically } from "../files.ts";
import { pace } from "../pace.ts";
import { readContent, routeContent } from "./content.ts";
import { MultiMap } from "./multi-map.ts";
import {
  type LeafChange,
  type LeafPlan,
  type LooseLeaf,
  type Named,
  ownFiles,
  planLeaf,
  type Rejected,
  removals,
} from "./plan.ts";
import type { AddressesOf, RouteContext } from "./route-files.ts";
import { backendsIn, backendsOf, type ServedRoute, type ServedTarget, targetOf } from "./served.ts";

const kinds = ["n", "w", "p"];

export class RoutesDir {
  readonly #dir: string;
  readonly #isUp: (backend: string) => boolean;
  /** The routes of each leaf, by slot. */
  readonly #leaves = new Map<string, Map<number, ServedRoute>>();
  /** The route that owns each file: a route that lost a name must not delete the new owner's file. */
  readonly #owners = new Map<string, ServedRoute>();
  /** The routes that use each backend, and those of each tenant: of what is served. */
  readonly #users = new MultiMap<string, ServedRoute>();
  readonly #ofTenant = new MultiMap<string, ServedRoute>();
  /** More options of a tenant's files: its limits are reached. */
  readonly #limited = new Map<string, string[]>();
  /** Files of an earlier run that no route owns yet. */
  readonly #left = new Set<string>();
  readonly #rejected = new Map<string, Rejected[]>();
  /** The DNS names that routes' backends have, by leaf. Few leaves have any. */
  readonly #named = new Map<string, Named>();
  readonly #addressesOf: AddressesOf;
  /** True if no snapshot was applied yet, or the last one only in part: files may not be what the records say. */
  #torn = true;
  /** Backends whose health changed since the last `apply` began. */
  readonly #changed = new Set<string>();
  /** Backends that routes name now, and those that none names any more, since the last `takeBackends`. */
  #backends = { began: new Set<string>(), ended: new Set<string>() };

  /** Takes over the files of an earlier run, and deletes its half-written ones. */
  constructor(dir: string, isUp: (backend: string) => boolean = () => true, addressesOf: AddressesOf = () => []) {
    this.#dir = dir;
    this.#addressesOf = addressesOf;
    this.#isUp = isUp;
    for (const kind of kinds) {
      mkdirSync(path.join(dir, kind), { recursive: true, mode: 0o755 });
      for (const name of readdirSync(path.join(dir, kind)))
        if (name.endsWith(unfinished)) rmSync(path.join(dir, kind, name));
        else this.#left.add(`${kind}/${name}`);
    }
  }

  get rejected(): Rejected[] {
    return [...this.#rejected.values()].flat().sort((a, b) => a.slot - b.slot);
  }

  get files(): number {
    return this.#owners.size + this.#left.size;
  }

  /** The backends that routes name, in the order in which they came. */
  get backends(): BackendSet {
    return this.#users;
  }

  /** How a backend is checked: as the first route that named it says. Undefined when a connection is enough. */
  checkOf(backend: string): BackendCheck | undefined {
    const route = this.#users.first(backend);
    const targets = route === undefined ? [] : [route.target, ...Object.values(route.byAlpn)];
    return targets.find(({ groups }) => backendsIn(...groups).includes(backend))?.check;
  }

  /** Is this tenant served at this slot? */
  serves(slot: number, tenantId: string): boolean {
    return this.#servedAt(slot, tenantId) !== undefined;
  }

  #servedAt(slot: number, tenantId: string): ServedRoute | undefined {
    for (const route of this.#ofTenant.get(tenantId)) if (route.slot === slot) return route;
    return undefined;
  }

  servesTenant(tenantId: string): boolean {
    return this.#ofTenant.has(tenantId);
  }

  /** A tenant's own limits of sessions. */
  sessionLimitsOf(tenantId: string): Partial<SessionLimits> {
    return this.#ofTenant.first(tenantId)?.sessionLimits ?? {};
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
      for (const route of this.#ofTenant.get(tenantId)) this.#rewrite(route);
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
   * state. Writes all new files before it removes old ones. After a failure, the whole call is repeated. Other work runs
   * between its parts, because tens of thousands of files take seconds. Leaves are read and adopted one after the other,
   * because all of them together fill the memory twice.
   */
  async apply(leaves: Iterable<readonly [leaf: string, read: () => LeafChange]>, context: RouteContext): Promise<void> {
    const breathe = pace();
    const torn = this.#torn;
    this.#torn = true;
    this.#changed.clear();
    const plans: Pick<LeafPlan, "kept" | "stale">[] = [];
    const former: ServedRoute[] = [];
    for (const [leaf, read] of leaves) {
      const plan = planLeaf(read(), context, this.#known(leaf, torn));
      for (const { route, files } of plan.writes) {
        this.#write(files, route, torn);
        await breathe();
      }
      former.push(...this.#adopt(leaf, plan));
      plans.push({ kept: plan.kept, stale: plan.stale });
      await breathe();
    }
    for (const file of removals(plans, this.#ownerOf)) this.#remove(file);
    const kept = new Set(plans.flatMap((plan) => plan.kept)); // perhaps in another leaf now
    for (const route of former) {
      if (!kept.has(route)) this.#forget(route);
      await breathe();
    }
    await this.refresh(this.#changed);
    this.#torn = false;
    if (torn) await this.#sweep(breathe);
  }

  /** Takes over a leaf's routes. Returns those whose slots are not its own any more: another leaf may still keep them. */
  #adopt(leaf: string, { after, rejected, named }: LeafPlan): ServedRoute[] {
    const before = this.#leaves.get(leaf) ?? new Map<number, ServedRoute>();
    for (const [slot, route] of after) if (before.get(slot) !== route) this.#index(route);
    const gone: ServedRoute[] = [];
    for (const [slot, route] of before)
      if (!after.has(slot)) gone.push(route);
      else if (after.get(slot) !== route) this.#forget(route);
    if (after.size > 0) this.#leaves.set(leaf, after);
    else this.#leaves.delete(leaf);
    if (rejected.length > 0) this.#rejected.set(leaf, rejected);
    else this.#rejected.delete(leaf);
    if (named.size > 0) this.#named.set(leaf, named);
    else this.#named.delete(leaf);
    return gone;
  }

  /** The backends that routes name, and name no more, since the last call. */
  takeBackends(): { began: Set<string>; ended: Set<string> } {
    const taken = this.#backends;
    this.#backends = { began: new Set(), ended: new Set() };
    return taken;
  }

  #known(leaf: string, torn: boolean) {
    const refused = new Set((this.#rejected.get(leaf) ?? []).map(({ slot }) => slot));
    return {
      torn,
      before: this.#leaves.get(leaf) ?? new Map<number, ServedRoute>(),
      refused,
      lastGood: (route: LooseLeaf["routes"][number]) =>
        this.#servedAt(route.slot, route.tenantId) ?? this.#leftBy(route),
      ownerOf: this.#ownerOf,
      named: this.#named.get(leaf) ?? new Map<number, string[]>(),
      addressesOf: this.#addressesOf,
    };
  }

  /** The DNS names that routes' backends have. */
  get names(): Set<string> {
    return new Set([...this.#named.values()].flatMap((named) => [...named.values()].flat()));
  }

  /** The slots of each leaf whose routes have backends with one of these names. */
  slotsNaming(names: ReadonlySet<string>): Map<string, Set<number>> {
    const found = [...this.#named].map(([leaf, named]) => {
      const slots = [...named].flatMap(([slot, own]) => (own.some((name) => names.has(name)) ? [slot] : []));
      return [leaf, new Set(slots)] as const;
    });
    return new Map(found.filter(([, slots]) => slots.size > 0));
  }

  #ownerOf = (file: string) => this.#owners.get(file);

  /** Rewrites the routes of these backends, because their health changed. Other work runs between its parts. */
  async refresh(backends: Iterable<string>): Promise<void> {
    const breathe = pace();
    const changed = [...backends];
    for (const backend of changed) this.#changed.add(backend);
    const routes = new Set(changed.flatMap((backend) => [...this.#users.get(backend)]));
    for (const route of routes) {
      this.#rewrite(route);
      await breathe();
    }
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
        const content = this.#left.has(file) ? readContent(readIfThere(path.join(this.#dir, file)) ?? "") : undefined;
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
  async #sweep(breathe: () => Promise<void>): Promise<void> {
    for (const file of [...this.#left]) {
      this.#remove(file);
      await breathe();
    }
    for (const [file, owner] of this.#owners) {
      if (this.#servedAt(owner.slot, owner.tenantId) !== owner) this.#remove(file);
      await breathe();
    }
  }

  #index(route: ServedRoute): void {
    const { began, ended } = this.#backends;
    this.#ofTenant.add(route.tenantId, route);
    for (const backend of backendsOf(route))
      if (this.#users.add(backend, route) && !ended.delete(backend)) began.add(backend);
  }

  #forget(route: ServedRoute): void {
    const { began, ended } = this.#backends;
    this.#ofTenant.delete(route.tenantId, route);
    for (const backend of backendsOf(route))
      if (this.#users.delete(backend, route) && !began.delete(backend)) ended.add(backend);
  }

  /** If `torn`, files may be there already, as after a restart: to read one is cheaper than to write it. */
  #write(files: string[], owner: ServedRoute, torn: boolean): void {
    for (const file of files) {
      const content = this.#contentOf(owner, targetOf(owner, file));
      const mayBeThere = torn && (this.#left.has(file) || this.#owners.has(file));
      if (!mayBeThere || readIfThere(path.join(this.#dir, file)) !== content)
        writeAtomically(path.join(this.#dir, file), content);
      this.#owners.set(file, owner);
      this.#left.delete(file);
    }
  }

  /** Writes a route's own files as they must be now. */
  #rewrite(route: ServedRoute): void {
    for (const file of ownFiles(route, this.#ownerOf))
      writeAtomically(path.join(this.#dir, file), this.#contentOf(route, targetOf(route, file)));
  }

  #contentOf({ slot, tenantId }: ServedRoute, target: ServedTarget): string {
    const limited = this.#limited.get(tenantId);
    const now = limited === undefined ? target : { ...target, options: [...limited, ...target.options] };
    return routeContent({ slot, tenantId, target: now }, this.#isUp);
  }

  #remove(file: string): void {
    rmSync(path.join(this.#dir, file), { force: true });
    this.#owners.delete(file);
    this.#left.delete(file);
  }
}
