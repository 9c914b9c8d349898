/** Slot numbers: a counter for numbers that were never used, and free items for numbers that were returned. */
import {
  GetCommand,
  QueryCommand,
  TransactWriteCommand,
  type TransactWriteCommandInput,
  UpdateCommand,
} from "@aws-sdk/lib-dynamodb";
import { type SlotKind, slotAt, slotsIn } from "../../core/slots/numbering.ts";
import type { Reserved } from "../../core/slots/pools.ts";
import type { Cell } from "../../schemas/fleet.ts";
import { slotLimits } from "../../schemas/limits.ts";
import { documents, failedConditions, isConditionFailed } from "../documents.ts";
import { environment } from "../settings.ts";
import { keys, padded } from "./keys.ts";

const TableName = environment.LANDFALL_LEDGER_TABLE;

/** `taken` numbers were handed out. `free` of them had been returned when the last audit counted them. */
export interface Counter {
  taken: number;
  free: number;
}

/**
 * Reserves up to `count` slots: first numbers that were never used, in one increment; then free items. Free items are
 * only read here; the admission that uses them takes them. `from` (0 to 1) is the position among the free items at
 * which to begin, so that concurrent batches do not all choose the same items.
 */
export async function reserveSlots(cell: Cell, kind: SlotKind, count: number, from: number): Promise<Reserved[]> {
  const fresh = await takeNumbers(cell, kind, count);
  const slots = fresh.map((number) => ({ slot: slotAt(cell, kind, number)!, free: false }));
  if (slots.length === count) return slots;
  const free = await findFree(cell, kind, count - slots.length, from);
  return [...slots, ...free.map((slot) => ({ slot, free: true }))];
}

async function takeNumbers(cell: Cell, kind: SlotKind, count: number): Promise<number[]> {
  const all = await increment(cell, kind, count);
  if (all !== undefined) return all;
  const Key = keys.counter(cell.name, kind);
  const { Item } = await documents.send(new GetCommand({ TableName, Key, ConsistentRead: true }));
  const rest = Math.min(count, slotsIn(cell, kind) - ((Item?.taken as number | undefined) ?? 0));
  return rest > 0 ? ((await increment(cell, kind, rest)) ?? []) : [];
}

/** The numbers, or undefined when the cell has fewer left. */
async function increment(cell: Cell, kind: SlotKind, count: number): Promise<number[] | undefined> {
  if (count > slotsIn(cell, kind)) return undefined; // the condition below would not refuse a cell's first batch
  try {
    const { Attributes } = await documents.send(
      new UpdateCommand({
        TableName,
        Key: keys.counter(cell.name, kind),
        UpdateExpression: "ADD taken :count",
        ConditionExpression: "attribute_not_exists(taken) OR taken <= :most",
        ExpressionAttributeValues: { ":count": count, ":most": slotsIn(cell, kind) - count },
        ReturnValues: "UPDATED_NEW",
      }),
    );
    const first = (Attributes?.taken as number) - count;
    const numbers = Array.from({ length: count }, (_, index) => first + index);
    return numbers.every((number) => slotAt(cell, kind, number) !== undefined) ? numbers : undefined;
  } catch (error) {
    if (isConditionFailed(error)) return undefined;
    throw error;
  }
}

async function findFree(cell: Cell, kind: SlotKind, count: number, from: number): Promise<number[]> {
  const low = kind === "raw" ? 0 : slotLimits.tlsSlotBase;
  const start = padded(low + Math.floor(from * slotsIn(cell, kind)));
  const page = async (condition: string) => {
    const { Items = [] } = await documents.send(
      new QueryCommand({
        TableName,
        KeyConditionExpression: `pk = :pk AND ${condition}`,
        ExpressionAttributeValues: { ":pk": keys.freeSlots(cell.name, kind), ":start": start },
        ConsistentRead: true,
        Limit: count,
      }),
    );
    return Items.map((item) => Number(item.sk));
  };
  const behind = await page("sk >= :start");
  return behind.length < count ? [...behind, ...(await page("sk < :start"))].slice(0, count) : behind;
}

/** Adds a number below the counter to the free items, unless a tenant has it after all. */
export const returnSlot = (cell: string, kind: SlotKind, slot: number) =>
  ifSlot(cell, slot, "attribute_not_exists(pk)", { Put: { TableName, Item: keys.freeSlot(cell, kind, slot) } });

/** Removes the number from the free items again, if a tenant has it. */
export const withdrawSlot = (cell: string, kind: SlotKind, slot: number) =>
  ifSlot(cell, slot, "attribute_exists(pk)", { Delete: { TableName, Key: keys.freeSlot(cell, kind, slot) } });

async function ifSlot(
  cell: string,
  slot: number,
  ConditionExpression: string,
  write: NonNullable<TransactWriteCommandInput["TransactItems"]>[number],
): Promise<boolean> {
  try {
    const ConditionCheck = { TableName, Key: keys.slot(cell, slot), ConditionExpression };
    await documents.send(new TransactWriteCommand({ TransactItems: [{ ConditionCheck }, write] }));
    return true;
  } catch (error) {
    if (failedConditions(error) !== undefined) return false;
    throw error;
  }
}

/** Stores an audit's count of free items. It is used to place tenants, not to reserve slots. */
export async function countFree(cell: string, kind: SlotKind, free: number): Promise<void> {
  await documents.send(
    new UpdateCommand({
      TableName,
      Key: keys.counter(cell, kind),
      UpdateExpression: "SET #free = :free",
      ExpressionAttributeNames: { "#free": "free" },
      ExpressionAttributeValues: { ":free": free },
    }),
  );
}
