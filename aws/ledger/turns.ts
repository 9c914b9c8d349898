/**
 * Turns of tenants whose records change many times a second: a turn is a rollout that has started and has not read the record
 * yet. As long as there is one, further writes need no rollout of their own, because it will read them all.
 */
import { DeleteCommand, UpdateCommand } from "@aws-sdk/lib-dynamodb";
import { rolloutLimits } from "../../schemas/limits.ts";
import { batchGet, documents, isConditionFailed } from "../documents.ts";
import { inParallel } from "../parallel.ts";
import { environment } from "../settings.ts";
import { keys } from "./keys.ts";

const TableName = environment.LANDFALL_ROLLOUTS_TABLE;

/**
 * Takes the turns of these tenants for the rollouts of a delivery, and returns the tenants whose turn it has now: also those
 * of an earlier attempt at the same delivery. A turn that nobody ended for long was lost with its execution.
 */
export async function takeTurns(tenantIds: string[], delivery: string, now: number): Promise<string[]> {
  const taken = await inParallel(tenantIds, async (tenantId) => {
    try {
      await documents.send(
        new UpdateCommand({
          TableName,
          Key: keys.turn(tenantId),
          UpdateExpression: "SET delivery = :delivery, takenAt = :now, expires = :expires",
          ConditionExpression: "attribute_not_exists(pk) OR delivery = :delivery OR takenAt < :lost",
          ExpressionAttributeValues: {
            ":delivery": delivery,
            ":now": now,
            ":expires": Math.floor(now / 1000) + rolloutLimits.batchKeepSeconds,
            ":lost": now - rolloutLimits.turnLostMs,
          },
        }),
      );
      return true;
    } catch (error) {
      if (isConditionFailed(error)) return false;
      throw error;
    }
  });
  return tenantIds.filter((_, index) => taken[index]);
}

/**
 * Ends this delivery's turns, before the records are read: whatever is written from now on starts a rollout of its own. Later
 * turns stay: their rollouts are still to come.
 */
export async function endTurns(tenantIds: string[], delivery: string): Promise<void> {
  await inParallel(tenantIds, async (tenantId) => {
    const isOurs = {
      ConditionExpression: "delivery = :delivery",
      ExpressionAttributeValues: { ":delivery": delivery },
    };
    try {
      await documents.send(new DeleteCommand({ TableName, Key: keys.turn(tenantId), ...isOurs }));
    } catch (error) {
      if (!isConditionFailed(error)) throw error;
    }
  });
}

/** Those of these tenants for whom a rollout has started that has not read their records yet. A lost turn is none. */
export async function haveTurns(tenantIds: string[], now: number): Promise<Set<string>> {
  const turns = await batchGet<{ pk: string; takenAt: number }>(TableName, tenantIds.map(keys.turn));
  const found = new Set(turns.filter(({ takenAt }) => now - takenAt < rolloutLimits.turnLostMs).map(({ pk }) => pk));
  return new Set(tenantIds.filter((tenantId) => found.has(keys.turn(tenantId).pk)));
}
