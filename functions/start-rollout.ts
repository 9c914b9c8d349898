/** Receives the Tenants stream: stores the batch's tenant ids in the ledger and starts one rollout for all of them. */
import type { DynamoDBBatchResponse } from "aws-lambda";
import * as z from "zod";
import { endTurns, takeTurns } from "../aws/ledger/turns.ts";
import { logger } from "../aws/logger.ts";
import { startRollouts } from "../control/rollout/start.ts";
import { type Credit, paceOf, spend } from "../core/rollout/pace.ts";
import { sha256 } from "../schemas/signed.ts";
import { handler as shell } from "./shell/handler.ts";

const StreamEvent = z.object({
  Records: z.array(
    z.object({
      eventSourceARN: z.string(),
      dynamodb: z.object({ SequenceNumber: z.string(), Keys: z.object({ tenantId: z.object({ S: z.string() }) }) }),
    }),
  ),
});

/** Of the tenants that this instance saw lately. A new instance starts rollouts at once. */
let credits: ReadonlyMap<string, Credit> = new Map();

/** A turn without a rollout would keep further writes waiting. */
async function startTurns(tenants: Map<string, string>, delivery: string, now: number): Promise<void> {
  try {
    await startRollouts(delivery, tenants, now, { turn: true });
  } catch (error) {
    await endTurns([...tenants.keys()], delivery);
    throw error;
  }
}

/**
 * Uses only the ids of the event: admission reads the current records. The batch's name follows from the records'
 * sequence numbers, so that a repeated delivery gives the same execution. A tenant that writes many times a second has one
 * rollout a second, and delays no other tenant.
 */
export const handler = shell(StreamEvent, async ({ Records }): Promise<DynamoDBBatchResponse> => {
  const first = Records[0];
  if (first === undefined) return { batchItemFailures: [] };
  const numbers = Records.map((record) => record.dynamodb.SequenceNumber);
  const name = `batch-${sha256(`${first.eventSourceARN}\n${numbers.join("\n")}`).slice(0, 32)}`;
  const sequences = new Map(Records.map(({ dynamodb }) => [dynamodb.Keys.tenantId.S, dynamodb.SequenceNumber]));
  const now = Date.now();
  const { atOnce, turns } = paceOf([...sequences.keys()], credits, now);
  const taken = await takeTurns(turns, `${name}-turn`, now);
  const of = (tenantIds: string[]) => new Map(tenantIds.map((tenantId) => [tenantId, sequences.get(tenantId)!]));
  await startRollouts(name, of(atOnce), now);
  await startTurns(of(taken), `${name}-turn`, now);
  credits = spend(atOnce, credits, now);
  logger.info("rollout started", {
    name,
    records: Records.length,
    tenants: atOnce.length,
    turns: taken.length,
    waiting: turns.length - taken.length,
  });
  return { batchItemFailures: [] };
});
