/** A cell's dirty set: batches whose tenants changed, and that no commit covers yet. Only this file writes it. */
import { DeleteCommand, TransactWriteCommand, type TransactWriteCommandInput } from "@aws-sdk/lib-dynamodb";
import type { ChangedTenant } from "../../core/publishing/changes.ts";
import type { Commit } from "../../core/publishing/commit.ts";
import { publishLimits, rolloutLimits } from "../../schemas/limits.ts";
import { documents, failedConditions } from "../documents.ts";
import { environment } from "../settings.ts";
import { type AttemptId, type Coverage, superseded } from "./batches.ts";
import { keys } from "./keys.ts";
import { queryAll } from "./query.ts";

const TableName = environment.LANDFALL_LEDGER_TABLE;
const rollouts = environment.LANDFALL_ROLLOUTS_TABLE;

export interface DirtyBatch {
  batchId: string;
  tenants: ChangedTenant[];
  /** The attempt that marked it. It distinguishes markings when a publisher removes the batch. */
  mark: number;
}

/** As many batches as one commit takes, in order. */
export const readDirty = (cell: string) => queryAll<DirtyBatch>(keys.dirtySet(cell), publishLimits.batchesPerCommitMax);

/**
 * Adds the batch's tenants to the cell's dirty set. The coverage of an earlier marking is deleted, because it does not cover
 * this one.
 * @throws RowChangedError when a later attempt has begun
 */
export async function markDirty(
  cell: string,
  { batchId, attempt }: AttemptId,
  tenants: ChangedTenant[],
): Promise<void> {
  const dirty: DirtyBatch = { batchId, tenants, mark: attempt };
  const isLatest = {
    TableName: rollouts,
    Key: keys.batch(batchId),
    ConditionExpression: "attempt = :attempt",
    ExpressionAttributeValues: { ":attempt": attempt },
  };
  try {
    await documents.send(
      new TransactWriteCommand({
        TransactItems: [
          { ConditionCheck: isLatest },
          { Put: { TableName, Item: { ...keys.dirty(cell, batchId), ...dirty } } },
          { Delete: { TableName: rollouts, Key: keys.coverage(batchId, cell) } },
        ],
      }),
    );
  } catch (error) {
    throw failedConditions(error) === undefined ? error : superseded(batchId, error);
  }
}

/** Writes of a commit that covers these batches: their coverage, and their removal if they are unchanged. */
export function coverBatches(
  cell: string,
  batches: DirtyBatch[],
  { generation, committedAt }: Commit,
): NonNullable<TransactWriteCommandInput["TransactItems"]> {
  const expires = Math.floor(Date.now() / 1000) + rolloutLimits.batchKeepSeconds;
  const covered: Coverage = { generation, committedAt, expires };
  return batches.flatMap(({ batchId, mark }) => [
    { Put: { TableName: rollouts, Item: { ...keys.coverage(batchId, cell), ...covered } } },
    {
      Delete: {
        TableName,
        Key: keys.dirty(cell, batchId),
        ConditionExpression: "mark = :mark",
        ExpressionAttributeValues: { ":mark": mark },
      },
    },
  ]);
}

/** Empties the set, for a rebuild, which reads the tenants from the snapshots instead. */
export async function clearDirty(cell: string): Promise<void> {
  for (const { pk, sk } of await queryAll<{ pk: string; sk: string }>(keys.dirtySet(cell)))
    await documents.send(new DeleteCommand({ TableName, Key: { pk, sk } }));
}
