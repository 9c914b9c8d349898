import { type CancellationReason, DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { BatchGetCommand, DynamoDBDocumentClient } from "@aws-sdk/lib-dynamodb";
import { clientLimits } from "../schemas/limits.ts";

const { keysPerBatchGet } = clientLimits;

/** The only DynamoDB client. Numbers of any size become JavaScript numbers; the schemas check them on parsing. */
export const documents = DynamoDBDocumentClient.from(new DynamoDBClient({}), {
  // Writes every object as a map: a member named `constructor` makes an object look like an instance of a class.
  marshallOptions: { removeUndefinedValues: true, convertClassInstanceToMap: true },
  unmarshallOptions: { wrapNumbers: (text: string) => Number(text) },
});

/**
 * Reads items by key, consistently, a hundred per call, in no order. Missing items are absent. Keys that DynamoDB does
 * not process (16 MiB per response) are requested again as long as each call returns some items.
 * @throws ThrottledError when DynamoDB processed no key of a call
 */
export async function batchGet<Item>(table: string, Keys: Record<string, unknown>[]): Promise<Item[]> {
  const items: Item[] = [];
  for (let rest = Keys; rest.length > 0; ) {
    const asked = rest.slice(0, keysPerBatchGet);
    const { Responses, UnprocessedKeys } = await documents.send(
      new BatchGetCommand({ RequestItems: { [table]: { Keys: asked, ConsistentRead: true } } }),
    );
    const left = UnprocessedKeys?.[table]?.Keys ?? [];
    if (left.length === asked.length) throw new ThrottledError("DynamoDB processed none of a batch's keys");
    items.push(...((Responses?.[table] ?? []) as Item[]));
    rest = [...rest.slice(keysPerBatchGet), ...left];
  }
  return items;
}

/** Is treated like a throttled request: the workflow tries again later. */
class ThrottledError extends Error {
  override readonly name = "ThrottledError";
  readonly $retryable = { throttling: true };
}

const named = (error: unknown, name: string) => error instanceof Error && error.name === name;

export const isConditionFailed = (error: unknown) => named(error, "ConditionalCheckFailedException");

/** Items of a transaction whose condition failed, by index, with their stored values; undefined for other failures. */
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
