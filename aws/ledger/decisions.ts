/** An operator's decisions about names: the point and the decision's own record, in one write. */
import { TransactWriteCommand } from "@aws-sdk/lib-dynamodb";
import type { Decision } from "../../core/names/decisions.ts";
import type { Point } from "../../core/names/points.ts";
import { documents, failedConditions } from "../documents.ts";
import { environment } from "../settings.ts";
import { keys } from "./keys.ts";
import { pointItem } from "./points.ts";
import { queryAll } from "./query.ts";

const TableName = environment.LANDFALL_LEDGER_TABLE;

/**
 * Writes a decision about a name, if the point is as it was read.
 * @returns false when it changed meanwhile
 */
export async function writeDecision(
  name: string,
  before: Point | undefined,
  after: Point | undefined,
  decision: Decision,
): Promise<boolean> {
  const asRead =
    before === undefined
      ? { ConditionExpression: "attribute_not_exists(pk)" }
      : { ConditionExpression: "stamp = :stamp", ExpressionAttributeValues: { ":stamp": before.stamp } };
  const point =
    after === undefined
      ? { Delete: { TableName, Key: keys.name(name), ...asRead } }
      : { Put: { TableName, Item: pointItem(after), ...asRead } };
  const record = { Put: { TableName, Item: { ...keys.decision(name, decision.at), decision } } };
  try {
    await documents.send(new TransactWriteCommand({ TransactItems: [point, record] }));
    return true;
  } catch (error) {
    if (failedConditions(error) === undefined) throw error;
    return false;
  }
}

/** Every decision about a name, the oldest first. */
export async function readDecisions(name: string): Promise<Decision[]> {
  const items = await queryAll<{ decision?: Decision }>(keys.name(name).pk);
  return items.flatMap(({ decision }) => decision ?? []);
}
