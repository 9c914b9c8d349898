/** A cell's own items, read together: the live commit, slot counters, and problems that block publishing. */
import { DeleteCommand, PutCommand, TransactWriteCommand } from "@aws-sdk/lib-dynamodb";
import { LeaseHeldError } from "../../core/errors.ts";
import type { Commit } from "../../core/publishing/commit.ts";
import type { Withheld } from "../../core/publishing/plan.ts";
import type { StructureState } from "../../core/publishing/structure.ts";
import type { SlotKind } from "../../core/slots/numbering.ts";
import { documents, failedConditions, isConditionFailed } from "../documents.ts";
import { environment } from "../settings.ts";
import { keys } from "./keys.ts";
import { isHeld, type Lease } from "./leases.ts";
import { queryAll } from "./query.ts";
import type { Counter } from "./slots.ts";

const TableName = environment.LANDFALL_LEDGER_TABLE;

/** Why nothing is allocated or published until an operator runs `landfall rebuild`. */
export interface Halt {
  reason: string;
  at: number;
}

/** A region whose manifest could not be written, since when, and why. */
export interface CopyFailure {
  region: string;
  reason: string;
  at: number;
}

export interface CellState {
  commit: Commit | undefined;
  counters: Record<SlotKind, Counter>;
  halt: Halt | undefined;
  /** Why the last publication failed; absent when it did not. */
  trouble: Halt | undefined;
  copyFailures: CopyFailure[];
  structure: { state: StructureState; version: number } | undefined;
  /** Changes that the gate refused, at most one entry for each bucket, in order. */
  withheld: Withheld[];
}

export async function readCell(cell: string): Promise<CellState> {
  const items = new Map(
    (await queryAll<Record<string, unknown> & { sk: string }>(keys.cell(cell))).map((item) => [item.sk, item]),
  );
  const counter = (kind: SlotKind) => {
    const { taken = 0, free = 0 } = (items.get(keys.counter(cell, kind).sk) ?? {}) as Partial<Counter>;
    return { taken, free };
  };
  const structure = items.get(keys.structure(cell).sk);
  return {
    commit: items.get(keys.commit(cell).sk)?.commit as Commit | undefined,
    counters: { raw: counter("raw"), tls: counter("tls") },
    halt: items.get(keys.halt(cell).sk) as Halt | undefined,
    trouble: items.get(keys.trouble(cell).sk) as Halt | undefined,
    copyFailures: [...items.values()].filter(({ sk }) => sk.startsWith("COPY#")) as unknown as CopyFailure[],
    structure: structure as CellState["structure"],
    withheld: [...items.values()]
      .flatMap(({ sk, withheld }) => (sk.startsWith("WITHHELD#") ? [withheld as Withheld] : []))
      .sort((a, b) => a.bucket - b.bucket),
  };
}

export async function halt(cell: string, reason: string, at: number): Promise<void> {
  await documents.send(new PutCommand({ TableName, Item: { ...keys.halt(cell), reason, at } }));
}
export async function resume(cell: string): Promise<void> {
  await documents.send(new DeleteCommand({ TableName, Key: keys.halt(cell) }));
}

export async function noteTrouble(cell: string, reason: string, at: number): Promise<void> {
  await documents.send(new PutCommand({ TableName, Item: { ...keys.trouble(cell), reason, at } }));
}
export async function clearTrouble(cell: string): Promise<void> {
  await documents.send(new DeleteCommand({ TableName, Key: keys.trouble(cell) }));
}

export async function noteCopyFailure(cell: string, failure: CopyFailure): Promise<void> {
  await documents.send(new PutCommand({ TableName, Item: { ...keys.copy(cell, failure.region), ...failure } }));
}
export async function clearCopyFailure(cell: string, region: string): Promise<void> {
  await documents.send(new DeleteCommand({ TableName, Key: keys.copy(cell, region) }));
}

/** @returns false when another execution advanced it in between */
export async function saveStructure(cell: string, state: StructureState, expectedVersion: number): Promise<boolean> {
  try {
    await documents.send(
      new PutCommand({
        TableName,
        Item: { ...keys.structure(cell), version: expectedVersion + 1, state },
        ...(expectedVersion === 0
          ? { ConditionExpression: "attribute_not_exists(pk)" }
          : { ConditionExpression: "version = :version", ExpressionAttributeValues: { ":version": expectedVersion } }),
      }),
    );
    return true;
  } catch (error) {
    if (isConditionFailed(error)) return false;
    throw error;
  }
}

/**
 * Writes what is withheld of a bucket, or that nothing is, if the lease is still ours.
 * @throws LeaseHeldError when another publisher took it
 */
export async function saveWithheld(
  cell: string,
  bucket: number,
  withheld: Withheld | undefined,
  lease: Lease,
): Promise<void> {
  const Key = keys.withheld(cell, bucket);
  const write =
    withheld === undefined ? { Delete: { TableName, Key } } : { Put: { TableName, Item: { ...Key, withheld } } };
  try {
    await documents.send(new TransactWriteCommand({ TransactItems: [{ ConditionCheck: isHeld(lease) }, write] }));
  } catch (error) {
    if (failedConditions(error) === undefined) throw error;
    throw new LeaseHeldError(`another publisher took cell ${cell} over`, { cause: error });
  }
}
