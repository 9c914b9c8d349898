/** What failover keeps between its evaluations: its state, operators' pins, signals of EC2, and records of its decisions. */
import { DeleteCommand, PutCommand, QueryCommand, UpdateCommand } from "@aws-sdk/lib-dynamodb";
import type { InstanceSignal } from "../../core/failover/beliefs.ts";
import type { FailoverState } from "../../core/failover/decide.ts";
import type { Pin } from "../../core/failover/pins.ts";
import type { DecisionRecord } from "../../core/failover/record.ts";
import { failoverLimits } from "../../schemas/limits.ts";
import { documents, isConditionFailed } from "../documents.ts";
import { environment } from "../settings.ts";
import { keys } from "./keys.ts";
import type { Lease } from "./leases.ts";
import { queryAll } from "./query.ts";

const TableName = environment.LANDFALL_LEDGER_TABLE;

export interface Remembered {
  state: FailoverState | undefined;
  pins: Pin[];
  instances: InstanceSignal[];
}

export async function readFailover(cell: string): Promise<Remembered> {
  const items = await queryAll<{ state?: FailoverState; pin?: Pin; instance?: InstanceSignal }>(keys.failover(cell));
  return {
    state: items.find(({ state }) => state !== undefined)?.state,
    pins: items.flatMap(({ pin }) => pin ?? []),
    instances: items.flatMap(({ instance }) => instance ?? []),
  };
}

/** Writes the state, unless a later holder of the lease has. */
export async function saveState(cell: string, state: FailoverState, { epoch }: Lease): Promise<void> {
  await documents.send(
    new PutCommand({
      TableName,
      Item: { ...keys.failoverState(cell), epoch, state },
      ConditionExpression: "attribute_not_exists(pk) OR epoch <= :epoch",
      ExpressionAttributeValues: { ":epoch": epoch },
    }),
  );
}

/**
 * Of the executions that would watch a cell, the one that began last does: what it was told is the newest.
 * @returns false for all others
 */
export async function takeWatch(cell: string, watcher: string, since: string): Promise<boolean> {
  try {
    await documents.send(
      new UpdateCommand({
        TableName,
        Key: keys.watch(cell),
        UpdateExpression: "SET watcher = :watcher, since = :since",
        ConditionExpression: "attribute_not_exists(pk) OR since < :since OR watcher = :watcher",
        ExpressionAttributeValues: { ":watcher": watcher, ":since": since },
      }),
    );
    return true;
  } catch (error) {
    if (isConditionFailed(error)) return false;
    throw error;
  }
}

/** Keeps the newest word of EC2 about an instance, for as long as it may matter. */
export async function recordInstance(cell: string, signal: InstanceSignal): Promise<void> {
  try {
    await documents.send(
      new UpdateCommand({
        TableName,
        Key: keys.instance(cell, signal.edgeId),
        UpdateExpression: "SET instance = :signal, signalAt = :at, expires = :expires",
        ConditionExpression: "attribute_not_exists(pk) OR signalAt <= :at",
        ExpressionAttributeValues: { ":signal": signal, ":at": signal.at, ":expires": seconds(signal.at) },
      }),
    );
  } catch (error) {
    if (!isConditionFailed(error)) throw error; // a newer one is there already
  }
}

/** One pin a target: a new one takes the place of the old one. DynamoDB deletes it once it has ended. */
export async function savePin(cell: string, pin: Pin): Promise<void> {
  const expires = Math.ceil(pin.until / 1000);
  await documents.send(new PutCommand({ TableName, Item: { ...keys.pin(cell, pin.kind, pin.target), pin, expires } }));
}

/** @returns false when there is none */
export async function removePin(cell: string, kind: Pin["kind"], target: string): Promise<boolean> {
  const { Attributes } = await documents.send(
    new DeleteCommand({ TableName, Key: keys.pin(cell, kind, target), ReturnValues: "ALL_OLD" }),
  );
  return Attributes !== undefined;
}

const seconds = (at: number) => Math.ceil(at / 1000) + failoverLimits.recordSeconds;

export async function saveRecord(record: DecisionRecord): Promise<void> {
  const { cell, at } = record;
  await documents.send(
    new PutCommand({ TableName, Item: { ...keys.failoverRecord(cell, at), record, expires: seconds(at) } }),
  );
}

/** The newest records of a cell until a time, newest first. */
export async function readRecords(cell: string, until: number, most: number): Promise<DecisionRecord[]> {
  const { pk, sk } = keys.failoverRecord(cell, until);
  const { Items = [] } = await documents.send(
    new QueryCommand({
      TableName,
      KeyConditionExpression: "pk = :pk AND sk <= :sk",
      ExpressionAttributeValues: { ":pk": pk, ":sk": sk },
      ScanIndexForward: false,
      Limit: most,
      ConsistentRead: true,
    }),
  );
  return Items.map(({ record }) => record as DecisionRecord);
}
