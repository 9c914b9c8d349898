/**
 * Conflicts of transactions with writes beside them (DynamoDB developer guide, "Transaction conflict handling in DynamoDB").
 * The engine runs one request after the other and never has any: here a request is under way until the engine answered.
 */
import { AwsError } from "../../gateway/error.ts";
import type { DynamoRequest, Touched } from "./request.ts";

const underWay = "Transaction is ongoing for the item";
const types = "com.amazonaws.dynamodb.v20120810#";

export class Conflicts {
  /** Items in transactions that are under way, with how many there are. */
  readonly #inTransactions = new Map<string, number>();

  /** @throws AwsError when an item is in another transaction */
  check({ operation }: DynamoRequest, items: Touched[]): void {
    const busy = items.map(({ id }) => this.#inTransactions.has(id));
    if (!busy.includes(true)) return;
    if (operation.startsWith("Transact"))
      throw cancelled(busy.map((is) => (is ? { Code: "TransactionConflict", Message: underWay } : none)));
    if (/^(Put|Update|Delete)Item$/.test(operation)) throw new AwsError("TransactionConflictException", underWay);
  }

  /** A transaction is under way until the returned function is called. */
  begin(items: Touched[]): () => void {
    for (const { id } of items) this.#inTransactions.set(id, (this.#inTransactions.get(id) ?? 0) + 1);
    return () => {
      for (const { id } of items) {
        const count = (this.#inTransactions.get(id) ?? 1) - 1;
        if (count === 0) this.#inTransactions.delete(id);
        else this.#inTransactions.set(id, count);
      }
    };
  }
}

export interface CancellationReason {
  Code: string;
  Message?: string;
}
export const none: CancellationReason = { Code: "None" };

/** A transaction that was cancelled, with one reason for each of its items, in order (API reference). */
export function cancelled(reasons: CancellationReason[]): AwsError {
  const codes = reasons.map(({ Code }) => Code).join(", ");
  const message = `Transaction cancelled, please refer cancellation reasons for specific reasons [${codes}]`;
  return new AwsError("TransactionCanceledException", message, 400, {
    __type: `${types}TransactionCanceledException`,
    CancellationReasons: reasons,
  });
}
