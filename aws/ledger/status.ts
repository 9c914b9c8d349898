/** What is observed of a tenant, beside its row; written when a rollout settles. */
import { GetCommand, UpdateCommand } from "@aws-sdk/lib-dynamodb";
import { documents, isConditionFailed } from "../documents.ts";
import { environment } from "../settings.ts";
import { keys } from "./keys.ts";

const TableName = environment.LANDFALL_LEDGER_TABLE;

export interface TenantStatus {
  observedGeneration: number;
  /** The cell's generation that carries it. */
  snapshotGeneration: number;
  served: "all" | "partly" | "none";
  regions: string[];
  /** Edges that were waited for in vain, as `edge (region): reason`. */
  missing: string[];
  /** Milliseconds since 1970. */
  startedAt: number;
  committedAt: number;
  settledAt: number;
}

/** Writes a status unless a newer generation's is there. */
export async function writeStatus(tenantId: string, status: TenantStatus): Promise<void> {
  try {
    await documents.send(
      new UpdateCommand({
        TableName,
        Key: keys.status(tenantId),
        UpdateExpression: "SET observed = :status, observedGeneration = :generation, tenantId = :tenant",
        ConditionExpression: "attribute_not_exists(observedGeneration) OR observedGeneration <= :generation",
        ExpressionAttributeValues: { ":status": status, ":generation": status.observedGeneration, ":tenant": tenantId },
      }),
    );
  } catch (error) {
    if (!isConditionFailed(error)) throw error;
  }
}

export async function readStatus(tenantId: string): Promise<TenantStatus | undefined> {
  const Key = keys.status(tenantId);
  const { Item } = await documents.send(new GetCommand({ TableName, Key, ConsistentRead: true }));
  return Item?.observed as TenantStatus | undefined;
}

/** The last generation of the tenant that was spoken of on the bus. */
export async function readAnnounced(tenantId: string): Promise<number> {
  const Key = keys.status(tenantId);
  const { Item } = await documents.send(new GetCommand({ TableName, Key, ProjectionExpression: "announced" }));
  return (Item?.announced as number | undefined) ?? 0;
}

export async function markAnnounced(tenantId: string, generation: number): Promise<void> {
  await documents.send(
    new UpdateCommand({
      TableName,
      Key: keys.status(tenantId),
      UpdateExpression: "SET announced = :generation",
      ExpressionAttributeValues: { ":generation": generation },
    }),
  );
}
