/** Health signals: the newest one of each edge and of each region. */
import { UpdateCommand } from "@aws-sdk/lib-dynamodb";
import type { EdgeHealth } from "../../schemas/events.ts";
import { documents, isConditionFailed } from "../documents.ts";
import { environment } from "../settings.ts";
import { keys } from "./keys.ts";
import { queryAll } from "./query.ts";

const TableName = environment.LANDFALL_LEDGER_TABLE;

/** The newest health signal of an edge or of a whole region. */
export interface Signal extends EdgeHealth {
  at: number;
}

export const readSignals = async (cell: string): Promise<Signal[]> =>
  (await queryAll<{ lastSignal: Signal }>(keys.signals(cell))).map(({ lastSignal }) => lastSignal);

/** Keeps the newest signal of each subject. Signals may arrive in any order. */
export async function recordSignal(signal: Signal): Promise<void> {
  const subject = signal.edgeId === undefined ? `region#${signal.region}` : `edge#${signal.edgeId}`;
  try {
    await documents.send(
      new UpdateCommand({
        TableName,
        Key: keys.signal(signal.cell, subject),
        UpdateExpression: "SET lastSignal = :signal, signalAt = :at",
        ConditionExpression: "attribute_not_exists(pk) OR signalAt <= :at",
        ExpressionAttributeValues: { ":signal": signal, ":at": signal.at },
      }),
    );
  } catch (error) {
    if (!isConditionFailed(error)) throw error; // a newer one is there already
  }
}
