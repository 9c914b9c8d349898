/** The laws that must hold after every step. A breach's message starts with its law. */
import { pointIn } from "../../aws/ledger/points.ts";
import { canonicalJson } from "../../core/canonical.ts";
import { type EdgeSummary, isReady } from "../../core/edges/edge.ts";
import { ownerOf } from "../../core/names/claims.ts";
import { conflictIn, type Hold } from "../../core/names/points.ts";
import { renderBucket } from "../../core/publishing/render.ts";
import { openManifest, type PublicKeys } from "../../schemas/signed.ts";
import { type Manifest, objectKey, type Route, type SignedManifest } from "../../schemas/snapshot.ts";
import { routesBelow, type SimulatedEdge } from "./edges.ts";
import type { Item } from "./expressions.ts";
import type { RareState } from "./reached.ts";

export class Breach extends Error {
  override readonly name = "Breach";
}

export interface Watched {
  edges: () => SimulatedEdge[];
  ledger: (pk: string, sk: string) => Item | undefined;
  object: (key: string) => string | undefined;
  reached: (state: RareState) => void;
}

interface CommitItem {
  generation: number;
  commit: { generation: number; routes: string[] };
}

/** The tenant of each slot or name, and an edge that serves it. */
type Owners = Map<string, { tenantId: string; edgeId: string }>;

const namesOf = ({ hostnames, wildcards = [] }: Route) => [...hostnames, ...wildcards];
/** The name itself, or the parent of a wildcard. */
const baseOf = (name: string) => name.replace(/^\*\./, "");
const isBelow = (name: string, other: string) => baseOf(name).endsWith(`.${baseOf(other)}`);

/** Whose a name is, by the route that edges serve with it: the one with the highest generation. */
function ownersIn(edges: SimulatedEdge[]): Map<string, string> {
  const newest = new Map<string, Route>();
  for (const route of edges.flatMap(({ routes }) => routes))
    for (const name of namesOf(route))
      if (route.generation > (newest.get(name)?.generation ?? 0)) newest.set(name, route);
  const ownerIn = ({ tenantId, account }: Route) =>
    ownerOf({ tenantId, ...(account === undefined ? {} : { account }) });
  return new Map([...newest].map(([name, route]) => [name, ownerIn(route)]));
}

/**
 * Laws 1 and 2 over the routes that edges serve: a slot or a name leads to the same tenant on every edge, and nobody outside
 * its account is served with a name below it. `holdOf` is what the ledger has of a name: a tenant may have left its account
 * while edges still serve what it had with it.
 */
export function watchEdges(
  { edges }: Pick<Watched, "edges">,
  holdOf: (name: string) => Hold | undefined = () => undefined,
): { slots: Owners; names: Owners } {
  const slots: Owners = new Map();
  const names: Owners = new Map();
  const owners = ownersIn(edges());
  for (const { edgeId, cell, routes } of edges())
    for (const route of routes) {
      const { tenantId } = route;
      const slot = `${cell}#${String(route.slot).padStart(6, "0")}`;
      const other = slots.get(slot);
      if (other !== undefined && other.tenantId !== tenantId)
        throw new Breach(`law 1: slot ${slot} is ${other.tenantId} on ${other.edgeId} and ${tenantId} on ${edgeId}`);
      slots.set(slot, { tenantId, edgeId });
      for (const name of namesOf(route)) {
        const holder = names.get(name);
        if (holder !== undefined && holder.tenantId !== tenantId)
          throw new Breach(`law 2: ${name} is ${holder.tenantId} on ${holder.edgeId} and ${tenantId} on ${edgeId}`);
        names.set(name, { tenantId, edgeId });
      }
    }
  const holderOf = (name: string, tenantId: string) => {
    const hold = holdOf(name);
    return hold?.tenantId === tenantId ? hold.owner : owners.get(name);
  };
  for (const [name, { tenantId }] of names)
    for (const [other, { tenantId: second }] of names) {
      const areNear = isBelow(other, name) || (other !== name && baseOf(other) === baseOf(name));
      if (areNear && tenantId !== second && holderOf(name, tenantId) !== holderOf(other, second))
        throw new Breach(`law 2: ${name} of ${tenantId} is beside or above ${other} of ${second}`);
    }
  return { slots, names };
}

/** The owner of a slot that a rebuild keeps for nobody, because an edge may still serve it. */
const nobody = "(unknown)";

/** The same, and the tenant is the one that the ledger has. */
export function watchServed({ edges, ledger }: Watched): void {
  const holdOf = (name: string) => {
    const point = pointIn(ledger(`NAME#${baseOf(name)}`, "NAME") ?? {});
    return name.startsWith("*.") ? point?.wildcard : point?.name;
  };
  const { slots, names } = watchEdges({ edges }, holdOf);
  for (const [slot, { tenantId, edgeId }] of slots) {
    const owner = ledger(`SLOT#${slot}`, "SLOT")?.tenantId;
    if (owner !== tenantId && owner !== nobody)
      throw new Breach(`law 1: ${edgeId} serves slot ${slot} for ${tenantId}, but ${owner} has it`);
  }
  for (const [name, { tenantId, edgeId }] of names) {
    const owner = holdOf(name)?.tenantId;
    if (owner !== tenantId) throw new Breach(`law 2: ${edgeId} serves ${name} for ${tenantId}, but ${owner} has it`);
  }
}

/** Law 2 over a name of the ledger: nobody has what is below another's name. */
export function watchPoint(item: Item | undefined): void {
  const point = pointIn(item ?? {});
  const counted = [...((item?.tenants ?? []) as Iterable<string>)].sort().join();
  if (point !== undefined && counted !== [...point.below.keys()].sort().join())
    throw new Breach(`law 2: those below ${point.point} are counted as ${counted}`);
  const conflict = point && conflictIn(point);
  if (conflict === undefined) return;
  const [one, other] = conflict;
  throw new Breach(
    `law 2: ${point!.point} is held by ${one.tenantId} (${one.owner}) and ${other.tenantId} (${other.owner})`,
  );
}

/** Laws 4 and 9 over two commits: only routes that the ledger changed differ, and buckets are in canonical form. */
export function watchCommit(
  before: Item | undefined,
  now: Item | undefined,
  { object, ledger, reached }: Watched,
): void {
  const next = now as unknown as CommitItem | undefined;
  const last = before as unknown as CommitItem | undefined;
  if (next === undefined) throw new Breach("law 3: a commit was deleted");
  if (last !== undefined && next.generation !== last.generation + 1)
    throw new Breach(`law 3: generation ${next.generation} follows ${last.generation}`);
  for (const [bucket, hash] of next.commit.routes.entries()) {
    const old = last?.commit.routes[bucket];
    if (old === hash) continue;
    const after = routesIn(object, hash);
    const earlier = old === undefined ? [] : routesIn(object, old);
    if (old !== undefined && isDivided(object, hash) && !isDivided(object, old)) reached("a bucket is divided");
    if (old !== undefined && !isDivided(object, hash) && isDivided(object, old))
      reached("a divided bucket is one leaf again");
    for (const route of earlier) {
      const same = after.find(({ slot }) => slot === route.slot);
      if (same !== undefined && canonicalJson(same) === canonicalJson(route)) continue;
      const row = ledger(`TENANT#${route.tenantId}`, "ROW")?.row as { generation: number } | undefined;
      const newer = same === undefined ? (row?.generation ?? 0) : same.generation;
      if (newer <= route.generation)
        throw new Breach(
          `law 4: the route of ${route.tenantId} in slot ${route.slot} changed without a new generation`,
        );
    }
  }
}

const isDivided = (object: Watched["object"], first: string) => !object(objectKey(first))?.startsWith('{"routes"');

function routesIn(object: Watched["object"], first: string): Route[] {
  const routes = named(first, object, "the commit");
  if (renderBucket(routes.toReversed()).hash !== first) throw new Breach(`law 9: ${first} is not in canonical form`);
  return routes;
}

/** The edges of a cell, from the ledger's item. */
export const summariesIn = ({ pk: _, sk: __, ...edges }: Item = {}): EdgeSummary[] =>
  Object.values(edges as Record<string, { summary: EdgeSummary }>).map(({ summary }) => summary);

/** Law 7 over what failover is told of edges: failover reads the edge's row then, so the row must show it already. */
export class Readiness {
  /** What each edge's row showed since the edge's last announcement. */
  readonly #shown = new Map<string, Set<boolean>>();
  readonly #announced = new Map<string, boolean>();

  wrote(edge: EdgeSummary): void {
    this.#shown.set(edge.edgeId, (this.#shown.get(edge.edgeId) ?? new Set()).add(isReady(edge)));
  }

  announced({ edgeId, ready }: { edgeId: string; ready: boolean }, row: EdgeSummary | undefined): void {
    if (!this.#shown.get(edgeId)?.has(ready))
      throw new Breach(`law 7: ${edgeId} is announced as ${ready ? "ready" : "not ready"} before its row shows it`);
    this.#shown.set(edgeId, new Set(row === undefined ? [] : [isReady(row)]));
    this.#announced.set(edgeId, ready);
  }

  /** The ledger was restored: what it says was announced counts. */
  restored(edges: EdgeSummary[]): void {
    this.#shown.clear();
    this.#announced.clear();
    for (const edge of edges) {
      this.#shown.set(edge.edgeId, new Set([isReady(edge)]));
      if (edge.announced !== undefined) this.#announced.set(edge.edgeId, edge.announced);
    }
  }

  /** Whether failover was last told what the row shows. */
  knows = (edge: EdgeSummary) => (this.#announced.get(edge.edgeId) ?? false) === isReady(edge);
}

/** Law 3 over a region's manifest: signed, and never older than the one before. */
export function watchManifest(before: string | undefined, now: string, keys: PublicKeys): void {
  const opened = openManifest(now, keys);
  if (!opened.ok) throw new Breach(`law 3: ${opened.reason}`);
  const old = before === undefined ? undefined : openManifest(before, keys);
  if (old?.ok && old.manifest.generation > opened.manifest.generation)
    throw new Breach(`law 3: manifest ${opened.manifest.generation} over ${old.manifest.generation}`);
}

/** Law 3 over a region's objects: its manifests name no object that it lacks. */
export function watchObjects(manifests: string[], object: (key: string) => string | undefined): void {
  for (const text of manifests) {
    const { cell, generation, routes } = JSON.parse((JSON.parse(text) as SignedManifest).manifest) as Manifest;
    for (const hash of routes) named(hash, object, `generation ${generation} of ${cell}`);
  }
}

function named(first: string, object: (key: string) => string | undefined, by: string): Route[] {
  try {
    return routesBelow(first, object);
  } catch (error) {
    throw new Breach(`law 3: ${by} names what is gone: ${(error as Error).message}`);
  }
}
