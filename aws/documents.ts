import { type CancellationReason, DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { DynamoDBDocumentClient } from "@aws-sdk/lib-dynamodb";

/** The one DynamoDB client. Numbers become JavaScript numbers, whatever their size: the schema at the door judges. */
export const documents = DynamoDBDocumentClient.from(new DynamoDBClient({}), {
  // As maps, whatever they look like: a member named `constructor` makes an object look like another class's.
  marshallOptions: { removeUndefinedValues: true, convertClassInstanceToMap: true },
  unmarshallOptions: { wrapNumbers: (text: string) => Number(text) },
});

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
