import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { DynamoDBDocumentClient } from "@aws-sdk/lib-dynamodb";

/** The one DynamoDB client. Numbers become JavaScript numbers, whatever their size: the schema at the door judges. */
export const documents = DynamoDBDocumentClient.from(new DynamoDBClient({}), {
  marshallOptions: { removeUndefinedValues: true },
  unmarshallOptions: { wrapNumbers: (text: string) => Number(text) },
});

const named = (error: unknown, name: string) => error instanceof Error && error.name === name;

export const isConditionFailed = (error: unknown) => named(error, "ConditionalCheckFailedException");

/** Which items of a transaction failed their condition, by position; undefined when it failed for another reason. */
export function failedConditions(error: unknown): number[] | undefined {
  if (!named(error, "TransactionCanceledException")) return undefined;
  const reasons = (error as Error & { CancellationReasons?: { Code?: string }[] }).CancellationReasons ?? [];
  const failed = reasons.flatMap((reason, index) => (reason.Code === "ConditionalCheckFailed" ? [index] : []));
  return failed.length > 0 ? failed : undefined;
}
