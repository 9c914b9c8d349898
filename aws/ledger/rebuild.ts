/** Writes a rebuilt ledger. Each write can be done again; the commit comes last, and the cell is halted until then. */
import { setTimeout as sleep } from "node:timers/promises";
import { DeleteCommand, PutCommand } from "@aws-sdk/lib-dynamodb";
import type { Point } from "../../core/names/points.ts";
import type { Commit } from "../../core/publishing/commit.ts";
import type { Rebuild } from "../../core/publishing/rebuild.ts";
import { bucketOf, everyBucket } from "../../core/routes/buckets.ts";
import type { Cell } from "../../schemas/fleet.ts";
import { publishLimits } from "../../schemas/limits.ts";
import type { Route } from "../../schemas/snapshot.ts";
import { documents } from "../documents.ts";
import { inParallel } from "../parallel.ts";
import { environment } from "../settings.ts";
import { clearDirty } from "./dirty-set.ts";
import { keys } from "./keys.ts";
import { takeLease } from "./leases.ts";
import { pointItem } from "./points.ts";
import { queryAll } from "./query.ts";

const TableName = environment.LANDFALL_LEDGER_TABLE;
const put = (Item: Record<string, unknown>) => documents.send(new PutCommand({ TableName, Item }));
const remove = (Key: { pk: string; sk: string }) => documents.send(new DeleteCommand({ TableName, Key }));

/** @throws Error when a publisher keeps the lease for twice the time that a dead one could */
export async function writeRebuild(
  cell: Cell,
  plan: Rebuild,
  routes: Route[],
  commit: Commit,
  points: Point[],
  now: number,
): Promise<void> {
  const { name } = cell;
  await stopPublishers(name);
  await inParallel(plan.rows, (row) => put({ ...keys.tenant(row.tenantId), version: row.version, row }));
  await inParallel(points, (point) => put(pointItem(point)));
  const nobody = { tenantId: "(unknown)", protocol: "unknown", givenUp: true };
  const slots = [...plan.slots, ...plan.unknown.map((slot) => ({ slot, ...nobody }))];
  const tombstone = { at: now, reason: "unknown since a rebuild" };
  await inParallel(slots, ({ slot, tenantId, protocol, givenUp }) =>
    put({ ...keys.slot(name, slot), tenantId, protocol, ...(givenUp ? { tombstone } : {}) }),
  );
  await clearDirty(name);
  await inParallel(everyBucket, (bucket) => remove(keys.withheld(name, bucket)));
  for (const kind of ["raw", "tls"] as const) {
    await inParallel(await queryAll<{ pk: string; sk: string }>(keys.freeSlots(name, kind)), ({ pk, sk }) =>
      remove({ pk, sk }),
    );
    await put({ ...keys.counter(name, kind), taken: plan.taken[kind], free: 0 });
  }
  await writeRoutes(name, routes);
  await remove(keys.structure(name));
  await put({ ...keys.commit(name), generation: commit.generation, commit });
}

/** Makes the commit of a publisher that rendered before fail. Later publishers read the halt. */
async function stopPublishers(cell: string): Promise<void> {
  for (const until = Date.now() + 2 * publishLimits.leaseMs; Date.now() < until; await sleep(250))
    if ((await takeLease(`publish#${cell}`, "rebuild", 0, Date.now())) !== undefined) return;
  throw new Error(`a publisher has the lease of ${cell}: try again`);
}

async function writeRoutes(cell: string, routes: Route[]): Promise<void> {
  const wanted = Map.groupBy(routes, ({ tenantId }) => bucketOf(tenantId));
  for (const bucket of everyBucket) {
    const slots = new Set((wanted.get(bucket) ?? []).map(({ slot }) => keys.route(cell, bucket, slot).sk));
    const old = await queryAll<{ pk: string; sk: string }>(keys.routes(cell, bucket));
    await inParallel(
      old.filter(({ sk }) => !slots.has(sk)),
      ({ pk, sk }) => remove({ pk, sk }),
    );
    await inParallel(wanted.get(bucket) ?? [], (route) => put({ ...keys.route(cell, bucket, route.slot), route }));
  }
}
