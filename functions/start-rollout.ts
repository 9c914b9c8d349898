/** From the Tenants stream: leaves the batch's tenant ids in the ledger and starts one rollout for all of them. */
import type { DynamoDBBatchResponse } from "aws-lambda";
import * as z from "zod";
import { createBatch } from "../aws/ledger/batches.ts";
import { environment } from "../aws/settings.ts";
import { startExecution } from "../aws/workflows.ts";
import { sha256 } from "../schemas/signed.ts";
import { logger, handler as shell } from "./shell/handler.ts";

const StreamEvent = z.object({
  Records: z.array(
    z.object({
      eventSourceARN: z.string(),
      dynamodb: z.object({ SequenceNumber: z.string(), Keys: z.object({ tenantId: z.object({ S: z.string() }) }) }),
    }),
  ),
});

/**
 * Only ids are taken from the event: admission reads what the record says when it looks. The batch's name follows
 * from the records' sequence numbers, so that the same delivery twice is the same execution.
 */
export const handler = shell(StreamEvent, async ({ Records }): Promise<DynamoDBBatchResponse> => {
  const first = Records[0];
  if (first === undefined) return { batchItemFailures: [] };
  const sequence = Records.map((record) => record.dynamodb.SequenceNumber);
  const tenantIds = [...new Set(Records.map((record) => record.dynamodb.Keys.tenantId.S))].sort();
  const batchId = `batch-${sha256(`${first.eventSourceARN}\n${sequence.join("\n")}`).slice(0, 32)}`;
  await createBatch(batchId, tenantIds, Date.now());
  await startExecution(environment.LANDFALL_ROLLOUT_MACHINE!, batchId, { batchId });
  logger.info("rollout started", { batchId, records: Records.length, tenants: tenantIds.length });
  return { batchItemFailures: [] };
});
