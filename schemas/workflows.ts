/** Inputs and outputs of the workflows' tasks. They carry ids, never records: a state takes 256 KiB at most. */
import * as z from "zod";
import { EdgeHealth, InstanceEvent } from "./events.ts";

export const BatchId = z.string().regex(/^[A-Za-z0-9_-]{1,80}$/);

/** `turn` is true for a batch whose tenants write so often that the rollout waited for more (aws/ledger/turns.ts). */
export const RolloutInput = z.object({ batchId: BatchId, turn: z.boolean().optional() });
/** Cells whose routes the batch changed, in order. */
export const Admitted = z.object({ batchId: BatchId, cells: z.array(z.string()) });
export const PublishInput = z.object({ cell: z.string() });
export const AwaitAcksInput = z.object({ batchId: BatchId, cell: z.string(), token: z.string() });
/** The audit checks everything: it needs no input. */
export const AuditInput = z.object({});
/** Looks for all proofs that are due: it needs no input. */
export const ProveInput = z.object({});
export const SettleInput = z.object({ batchId: BatchId });

/**
 * One evaluation of one accelerator: with a health event or what EC2 says of an instance, and its time (ISO 8601), or a tick
 * without. `watcher` is an execution that can look again, and `since` when it began.
 */
export const FailoverInput = z
  .object({
    /** Unknown of an instance: it may be no edge. */
    cell: z.string().optional(),
    instance: InstanceEvent.optional(),
    signal: EdgeHealth.optional(),
    at: z.string().optional(),
    watcher: z.string().optional(),
    since: z.string().optional(),
  })
  .refine(({ cell, instance }) => cell !== undefined || instance !== undefined, "names neither a cell nor an instance");
