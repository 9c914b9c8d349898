import { type CancellationReason, DynamoDBClient } from "@aws-sdk/client-dynamodb";
import {
  BatchGetCommand,
  BatchWriteCommand,
  type BatchWriteCommandInput,
  DynamoDBDocumentClient,
} from "@aws-sdk/lib-dynamodb";
import { clientLimits } from "../schemas/limits.ts";

const { keysPerBatchGet, itemsPerBatchWrite } = clientLimits;

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

type Requests = NonNullable<BatchWriteCommandInput["RequestItems"]>[string];

/**
 * Puts items without conditions, 25 per call; of items with the same key, in no order. What DynamoDB does not process is
 * put again as long as each call writes some items.
 * @throws ThrottledError when DynamoDB processed no item of a call
 */
export async function batchPut(table: string, items: Record<string, unknown>[]): Promise<void> {
  for (let rest: Requests = items.map((Item) => ({ PutRequest: { Item } })); rest.length > 0; ) {
    const asked = rest.slice(0, itemsPerBatchWrite);
    const { UnprocessedItems } = await documents.send(new BatchWriteCommand({ RequestItems: { [table]: asked } }));
    const left = UnprocessedItems?.[table] ?? [];
    if (left.length === asked.length) throw new ThrottledError("DynamoDB processed none of a batch's items");
    rest = [...rest.slice(itemsPerBatchWrite), ...left];
  }
}

/** Is treated like a throttled request: the workflow tries again later. */
class ThrottledError extends Error {
  override readonly name = "ThrottledError";
  readonly $retryable = { throttling: true };
}

const named = (error: unknown, name: string) => error instanceof Error && error.name === name;

export const isConditionFailed = (error: unknown) => named(error, "ConditionalCheckFailedException");

/** A transaction that was not written, because of some of its items. */
export const isCancelled = (error: unknown) => named(error, "TransactionCanceledException");

/** Which items of a transaction failed their conditions, by index; undefined for other failures. */
export function failedConditions(error: unknown): number[] | undefined {
  if (!isCancelled(error)) return undefined;
  const { CancellationReasons: reasons = [] } = error as Error & { CancellationReasons?: CancellationReason[] };
  const failed = reasons.flatMap(({ Code }, index) => (Code === "ConditionalCheckFailed" ? [index] : []));
  return failed.length > 0 ? failed : undefined;
}
