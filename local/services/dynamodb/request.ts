/** What a DynamoDB request does to which items: for policies, conflicts, capacity and stale reads. */

import { AwsError } from "../../gateway/error.ts";
import type { Call } from "../../gateway/service.ts";
import { isJson } from "../../json.ts";

type AttributeValue = Record<string, unknown>;
type Item = Record<string, AttributeValue>;

interface Action {
  TableName: string;
  Item?: Item;
  Key?: Item;
}

export interface Body {
  TableName?: string;
  StreamArn?: string;
  Item?: Item;
  Key?: Item;
  ConsistentRead?: boolean;
  Limit?: number;
  ReturnConsumedCapacity?: string;
  KeyConditionExpression?: string;
  ExpressionAttributeNames?: Record<string, string>;
  ExpressionAttributeValues?: Item;
  RequestItems?: Record<string, { Keys?: Item[]; ConsistentRead?: boolean } | BatchWrite[]>;
  TransactItems?: Record<string, Action>[];
}
export interface BatchWrite {
  PutRequest?: { Item: Item };
  DeleteRequest?: { Key: Item };
}

export interface DynamoRequest {
  operation: string;
  body: Body;
}

/** @throws AwsError SerializationException */
export function parseRequest(target: string | undefined, text: string): DynamoRequest {
  if (!isJson(text || "{}")) throw new AwsError("SerializationException", "the body is not JSON");
  return { operation: target?.split(".").at(-1) ?? "", body: JSON.parse(text || "{}") as Body };
}

export const isWrite = (operation: string) => /^(Put|Update|Delete)Item$|^(BatchWrite|TransactWrite)/.test(operation);
export const isRead = (operation: string) => /^(GetItem|BatchGetItem|Query|Scan)$/.test(operation);

/** An eventually consistent read: the whole request has to be one. */
export function isEventual({ operation, body }: DynamoRequest): boolean {
  if (!isRead(operation)) return false;
  if (operation !== "BatchGetItem") return body.ConsistentRead !== true;
  return Object.values(body.RequestItems ?? {}).every((one) => !Array.isArray(one) && one.ConsistentRead !== true);
}

/** One item that a request names. `partition` is the value of its partition key. */
export interface Touched {
  table: string;
  /** The whole key, as text. */
  id: string;
  partition: string;
}

/** The key's attributes of a table, the partition key first. */
export type KeySchemas = (table: string) => string[] | undefined;

const textOf = (value: AttributeValue | undefined) => JSON.stringify(Object.values(value ?? {})[0] ?? null);

const touched = (table: string, item: Item, schemas: KeySchemas): Touched => {
  const [hash, range] = schemas(table) ?? Object.keys(item).sort();
  const partition = textOf(item[hash ?? ""]).replace(/^"|"$/g, "");
  return { table, id: `${table} ${partition} ${range === undefined ? "" : textOf(item[range])}`, partition };
};

/** Items that a request names, in its order; of a query its partition; nothing of a scan. */
export function touchedBy({ operation, body }: DynamoRequest, schemas: KeySchemas): Touched[] {
  if (body.TransactItems !== undefined)
    return body.TransactItems.map((item) => {
      const [action] = Object.values(item);
      return touched(action!.TableName, action!.Item ?? action!.Key ?? {}, schemas);
    });
  if (body.RequestItems !== undefined)
    return Object.entries(body.RequestItems).flatMap(([table, asked]) =>
      Array.isArray(asked)
        ? asked.map((write) => touched(table, write.PutRequest?.Item ?? write.DeleteRequest?.Key ?? {}, schemas))
        : (asked.Keys ?? []).map((key) => touched(table, key, schemas)),
    );
  const table = body.TableName ?? "";
  if (operation === "Query") return queried(table, body, schemas);
  const item = body.Item ?? body.Key;
  return item === undefined ? [] : [touched(table, item, schemas)];
}

function queried(table: string, body: Body, schemas: KeySchemas): Touched[] {
  const hash = schemas(table)?.[0];
  for (const [, name = "", value = ""] of (body.KeyConditionExpression ?? "").matchAll(/([#\w]+)\s*=\s*(:\w+)/g)) {
    const attribute = body.ExpressionAttributeNames?.[name] ?? name;
    if (hash !== undefined && attribute !== hash) continue;
    const partition = textOf(body.ExpressionAttributeValues?.[value]).replace(/^"|"$/g, "");
    return [{ table, id: `${table} ${partition}`, partition }];
  }
  return [];
}

const transactActions: Record<string, string> = {
  Put: "PutItem",
  Update: "UpdateItem",
  Delete: "DeleteItem",
  ConditionCheck: "ConditionCheckItem",
  Get: "GetItem",
};

export interface Access {
  action: string;
  resource: string;
  /** Partition key values, as `dynamodb:LeadingKeys` has them; absent where AWS gives none. */
  leadingKeys?: string[];
}

/** What a request does to which table, in IAM's words. */
export function accessOf(request: DynamoRequest, schemas: KeySchemas, { region, account }: Call): Access[] {
  const { operation, body } = request;
  const arn = (table: string) =>
    table.startsWith("arn:") ? table : `arn:aws:dynamodb:${region}:${account}:table/${table}`;
  const items = touchedBy(request, schemas);
  const keysOf = (table: string) => [
    ...new Set(items.filter((one) => one.table === table).map((one) => one.partition)),
  ];
  const on = (table: string, action: string, leadingKeys: string[]): Access => ({
    action: `dynamodb:${action}`,
    resource: arn(table),
    ...(operation === "Scan" || leadingKeys.length === 0 ? {} : { leadingKeys }),
  });
  if (body.TransactItems !== undefined)
    return body.TransactItems.flatMap((item, index) =>
      Object.entries(item).map(([kind, { TableName }]) =>
        on(TableName, transactActions[kind] ?? kind, [items[index]!.partition]),
      ),
    );
  if (body.RequestItems !== undefined)
    return Object.keys(body.RequestItems).map((table) => on(table, operation, keysOf(table)));
  if (body.StreamArn !== undefined) return [{ action: `dynamodb:${operation}`, resource: body.StreamArn }];
  if (body.TableName === undefined) return [{ action: `dynamodb:${operation}`, resource: "*" }];
  return [on(body.TableName, operation, keysOf(body.TableName))];
}
