/** Publishing's part of the ledger: the dirty set, routes by bucket, and the commit. */
import { GetCommand, TransactWriteCommand } from "@aws-sdk/lib-dynamodb";
import type { LedgerRoutes } from "../../core/publishing/plan.ts";
import { batchGet, documents, failedConditions } from "../documents.ts";
import { environment } from "../settings.ts";
import type { RouteItem } from "./admission.ts";
import { type Coverage, type DirtyBatch, keepSeconds } from "./batches.ts";
import { keys } from "./keys.ts";
import type { Lease } from "./leases.ts";
import { queryAll } from "./query.ts";

const TableName = environment.LANDFALL_LEDGER_TABLE;

/** The live commit of a cell: the one truth that regional manifests are copies of. */
export interface Commit {
  generation: number;
  incarnation: string;
  routes: string[];
  structure: { default: string; overrides: Record<string, string> };
  /** Bytes of each bucket, for admission to see what there is room for. */
  sizes: number[];
  committedAt: number;
}

/** At most this many batches fit one commit: each takes two of the 100 items of a transaction. */
export const batchesPerCommit = 45;

export const readDirty = (cell: string) => queryAll<DirtyBatch>(keys.dirtySet(cell), batchesPerCommit);

export async function readCommit(cell: string): Promise<Commit | undefined> {
  const { Item } = await documents.send(new GetCommand({ TableName, Key: keys.commit(cell), ConsistentRead: true }));
  return Item?.commit as Commit | undefined;
}

/** A bucket's routes, and the removals that the ledger remembers. */
export const readRoutes = async (cell: string, bucket: number): Promise<LedgerRoutes> =>
  routesIn(await queryAll<RouteItem>(keys.routes(cell, bucket)));

/** The same for some slots of the bucket alone: what a change costs does not grow with the number of tenants. */
export const readRoutesOf = async (cell: string, bucket: number, slots: number[]): Promise<LedgerRoutes> =>
  routesIn(
    await batchGet<RouteItem>(
      TableName,
      slots.map((slot) => keys.route(cell, bucket, slot)),
    ),
  );

function routesIn(items: RouteItem[]): LedgerRoutes {
  return {
    routes: items.flatMap((item) => ("route" in item ? [item.route] : [])),
    removed: items.flatMap((item) => ("removed" in item ? [item.removed] : [])),
  };
}

/**
 * Commits on condition that the live commit is still `live` and the lease still ours, and takes the batches it covers
 * out of the dirty set, as they were read. A batch that changed nothing is covered by `live` itself.
 * @returns `lost` when somebody else committed or took the lease, `stale` when a batch was marked again meanwhile
 */
export async function commitGeneration(
  cell: string,
  live: Commit | undefined,
  next: Commit,
  batches: DirtyBatch[],
  lease: Lease,
): Promise<"committed" | "lost" | "stale"> {
  const atLive =
    live === undefined
      ? { ConditionExpression: "attribute_not_exists(pk)" }
      : { ConditionExpression: "generation = :live", ExpressionAttributeValues: { ":live": live.generation } };
  const Key = keys.commit(cell);
  const head =
    next === live
      ? { ConditionCheck: { TableName, Key, ...atLive } }
      : { Put: { TableName, Item: { ...Key, generation: next.generation, commit: next }, ...atLive } };
  const { generation, committedAt } = next;
  const expires = Math.floor(Date.now() / 1000) + keepSeconds;
  const covered: Coverage = { generation, committedAt, expires };
  try {
    await documents.send(
      new TransactWriteCommand({
        TransactItems: [
          head,
          {
            ConditionCheck: {
              TableName,
              Key: keys.lease(lease.name),
              ConditionExpression: "epoch = :epoch",
              ExpressionAttributeValues: { ":epoch": lease.epoch },
            },
          },
          ...batches.flatMap(({ batchId, mark }) => [
            { Put: { TableName, Item: { ...keys.coverage(batchId, cell), ...covered } } },
            {
              Delete: {
                TableName,
                Key: keys.dirty(cell, batchId),
                ConditionExpression: "mark = :mark",
                ExpressionAttributeValues: { ":mark": mark },
              },
            },
          ]),
        ],
      }),
    );
    return "committed";
  } catch (error) {
    const failed = failedConditions(error);
    if (failed === undefined) throw error;
    return failed.some(({ index }) => index < 2) ? "lost" : "stale";
  }
}
