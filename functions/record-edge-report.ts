/**
 * Records reports from the Reports table's stream: what each edge serves, or why not. Ends satisfied waits, and informs
 * failover of readiness. A report counts for its writer only, whom IAM names in the report's key.
 */
import type { DynamoDBBatchResponse } from "aws-lambda";
import * as z from "zod";
import { countIgnored } from "../aws/ledger/edges.ts";
import { logger } from "../aws/logger.ts";
import { identify } from "../control/edges/identify.ts";
import { type Doubt, recordIn } from "../control/edges/record.ts";
import { evaluateWaits } from "../control/rollout/waits.ts";
import type { WrittenReport } from "../core/edges/edge.ts";
import { lastReports, type ReportRecord } from "../core/edges/reports.ts";
import { RowChangedError } from "../core/errors.ts";
import { edgeLimits } from "../schemas/limits.ts";
import { writerOf } from "../schemas/report.ts";
import { handler as shell } from "./shell/handler.ts";

const Text = z.object({ S: z.string() });
const StreamEvent = z.object({
  Records: z.array(
    z.object({
      dynamodb: z.object({
        ApproximateCreationDateTime: z.number(),
        Keys: z.object({ id: Text }),
        NewImage: z.object({ report: Text }).partial().optional(),
      }),
    }),
  ),
});

/** A repeated delivery may run beside another one that has reports of the same edges: it merges again when they changed. */
export const handler = shell(StreamEvent, async ({ Records }): Promise<DynamoDBBatchResponse> => {
  const { reports, malformed } = lastReports(Records.flatMap(({ dynamodb }) => recordOf(dynamodb)));
  const doubts = malformed.map((writer): Doubt => ["malformed report", writer]);
  for (let attempt = 1; ; attempt++)
    try {
      doubts.push(...(await record(reports)));
      break;
    } catch (error) {
      if (!(error instanceof RowChangedError) || attempt >= edgeLimits.reportMergesMax) throw error;
    }
  await count(doubts);
  return { batchItemFailures: [] };
});

type StreamRecord = z.output<typeof StreamEvent>["Records"][number]["dynamodb"];

/** The record of a removal has no image. The stream's times are in seconds. */
const recordOf = ({ Keys, NewImage, ApproximateCreationDateTime: writtenAt }: StreamRecord): ReportRecord[] =>
  NewImage === undefined
    ? []
    : [{ writer: Keys.id.S, text: NewImage.report?.S ?? "", reportedAt: Math.floor(writtenAt) * 1000 }];

async function record(reports: WrittenReport[]): Promise<Doubt[]> {
  const found = await identify(reports);
  const doubts = found.flatMap((one): Doubt[] => ("ignored" in one ? [[one.ignored, one.written.writer]] : []));
  const edges = found.filter((one) => "identity" in one);
  for (const [cell, here] of Map.groupBy(edges, ({ identity }) => identity.cell)) {
    doubts.push(...(await recordIn(cell, here, Date.now())));
    await evaluateWaits(cell, Date.now()); // also after beats: an edge that stopped reporting no longer delays a wait
  }
  return doubts;
}

/** One item for each reason: a liar can't make the ledger grow. */
async function count(doubts: Doubt[]): Promise<void> {
  for (const [reason, all] of Map.groupBy(doubts, ([reason]) => reason)) {
    const writer = all.at(-1)![1];
    logger.warn("report ignored", { reason, writer, reports: all.length });
    await countIgnored(reason, writerOf(writer), all.length, Date.now());
  }
}
