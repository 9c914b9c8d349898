/** Publishing's part of the ledger: routes by bucket, and the commit. */
import { GetCommand, TransactWriteCommand } from "@aws-sdk/lib-dynamodb";
import type { LedgerRoutes } from "../../core/publishing/changes.ts";
import type { Commit } from "../../core/publishing/commit.ts";
import { batchGet, documents, failedConditions } from "../documents.ts";
import { environment } from "../settings.ts";
import type { RouteItem } from "./admission.ts";
import { coverBatches, type DirtyBatch } from "./dirty-set.ts";
import { keys } from "./keys.ts";
import { isHeld, type Lease } from "./leases.ts";
import { queryAll } from "./query.ts";

const TableName = environment.LANDFALL_LEDGER_TABLE;

export async function readCommit(cell: string): Promise<Commit | undefined> {
  const { Item } = await documents.send(new GetCommand({ TableName, Key: keys.commit(cell), ConsistentRead: true }));
  return Item?.commit as Commit | undefined;
}

/** The ledger's routes and removals of a bucket. */
export const readRoutes = async (cell: string, bucket: number): Promise<LedgerRoutes> =>
  routesIn(await queryAll<RouteItem>(keys.routes(cell, bucket)));

/** The same for only some slots of the bucket: the cost of a change does not grow with the number of tenants. */
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
 * Commits if the live commit is still `live` and the lease is still ours. Removes the covered batches from the dirty
 * set if they are unchanged since they were read. A batch that changed nothing is covered by `live` itself.
 * @returns `lost` when another publisher committed or took the lease, `stale` when a batch was marked again meanwhile
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
  try {
    await documents.send(
      new TransactWriteCommand({
        TransactItems: [
          head,
          {
            ConditionCheck: isHeld(lease),
          },
          ...coverBatches(cell, batches, next),
        ],
      }),
    );
    return "committed";
  } catch (error) {
    const failed = failedConditions(error);
    if (failed === undefined) throw error;
    return failed.some((index) => index < 2) ? "lost" : "stale";
  }
}
