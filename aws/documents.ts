import { type CancellationReason, DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { BatchGetCommand, DynamoDBDocumentClient } from "@aws-sdk/lib-dynamodb";
import { clientLimits } from "../schemas/limits.ts";

const { keysPerBatchGet } = clientLimits;

/** The one DynamoDB client. Numbers become JavaScript numbers, whatever their size: the schema at the door judges. */
export const documents = DynamoDBDocumentClient.from(new DynamoDBClient({}), {
  // As maps, whatever they look like: a member named `constructor` makes an object look like another class's.
  marshallOptions: { removeUndefinedValues: true, convertClassInstanceToMap: true },
  unmarshallOptions: { wrapNumbers: (text: string) => Number(text) },
});

/**
 * Items by key, read consistently, a hundred a call, in no order; what is not there is absent. Keys that DynamoDB leaves
 * (16 MiB an answer) are asked for again as long as it answers any.
 * @throws ThrottledError when a whole call was left
 */
export async function batchGet<Item>(table: string, Keys: Record<string, unknown>[]): Promise<Item[]> {
  const items: Item[] = [];
  for (let rest = Keys; rest.length > 0; ) {
    const asked = rest.slice(0, keysPerBatchGet);
    const { Responses, UnprocessedKeys } = await documents.send(
      new BatchGetCommand({ RequestItems: { [table]: { Keys: asked, ConsistentRead: true } } }),
    );
    const left = UnprocessedKeys?.[table]?.Keys ?? [];
    if (left.length === asked.length) throw new ThrottledError("DynamoDB answered none of a batch's keys");
    items.push(...((Responses?.[table] ?? []) as Item[]));
    rest = [...rest.slice(keysPerBatchGet), ...left];
  }
  return items;
}

/** Passes like a throttled request: the workflow tries again later. */
class ThrottledError extends Error {
  override readonly name = "ThrottledError";
  readonly $retryable = { throttling: true };
}

const named = (error: unknown, name: string) => error instanceof Error && error.name === name;

export const isConditionFailed = (error: unknown) => named(error, "ConditionalCheckFailedException");

/** Items of a transaction that failed their condition, by position, as they are; undefined when it failed otherwise. */
export function failedConditions(
  error: unknown,
): { index: number; old: Record<string, unknown> | undefined }[] | undefined {
  if (!named(error, "TransactionCanceledException")) return undefined;
  const { CancellationReasons: reasons = [] } = error as Error & { CancellationReasons?: CancellationReason[] };
  const failed = reasons.flatMap((reason, index) =>
    reason.Code === "ConditionalCheckFailed"
      ? [{ index, old: reason.Item as Record<string, unknown> | undefined }]
      : [],
  );
  return failed.length > 0 ? failed : undefined;
}
