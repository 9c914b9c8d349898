/** Reads the whole ledger, and stores what one audit keeps for the next. */
import { GetCommand, PutCommand, paginateScan, TransactWriteCommand, UpdateCommand } from "@aws-sdk/lib-dynamodb";
import type { TenantRow } from "../../core/admission/tenant-row.ts";
import type { Finding } from "../../core/audit/findings.ts";
import type { References } from "../../core/audit/objects.ts";
import type { Tombstone } from "../../core/audit/tombstones.ts";
import { bucketOf } from "../../core/routes/buckets.ts";
import type { SlotKind } from "../../core/slots/numbering.ts";
import { auditLimits } from "../../schemas/limits.ts";
import type { Route } from "../../schemas/snapshot.ts";
import { batchGet, documents, failedConditions, isConditionFailed } from "../documents.ts";
import { environment } from "../settings.ts";
import { readRoutes } from "./commits.ts";
import { keys } from "./keys.ts";
import { queryAll } from "./query.ts";

const TableName = environment.LANDFALL_LEDGER_TABLE;

export type LedgerItem = Record<string, unknown> & { pk: string; sk: string };

export type LedgerKey = Pick<LedgerItem, "pk" | "sk">;

/**
 * Items behind `from`, page by page, in no order, each with the key to go on from. Concurrent writes may be missing, and
 * recent ones unless the scan is `consistent`, which costs twice as much.
 */
export async function* scanLedger(
  from?: LedgerKey,
  { consistent = false } = {},
): AsyncGenerator<{ items: LedgerItem[]; next: LedgerKey | undefined }> {
  const pages = paginateScan(
    { client: documents, ...(from === undefined ? {} : { startingToken: from }) },
    { TableName, ConsistentRead: consistent },
  );
  for await (const { Items = [], LastEvaluatedKey } of pages)
    yield { items: Items as LedgerItem[], next: LastEvaluatedKey as LedgerKey | undefined };
}

/** What one audit keeps for the next. */
export interface AuditNote<Progress = undefined> {
  findings: Finding[];
  progress?: Progress;
}

export async function readNote<Progress>(scope: string): Promise<AuditNote<Progress>> {
  const { Item } = await documents.send(new GetCommand({ TableName, Key: keys.drift(scope), ConsistentRead: true }));
  return (Item?.note as AuditNote<Progress> | undefined) ?? { findings: [] };
}
export async function saveNote<Progress>(scope: string, note: AuditNote<Progress>): Promise<void> {
  await documents.send(new PutCommand({ TableName, Item: { ...keys.drift(scope), note } }));
}

/** The owners of these claims. A claim that nobody has is absent. */
export async function readOwners(claims: string[]): Promise<Map<string, string>> {
  const items = await batchGet<{ pk: string; tenantId: string }>(TableName, [...new Set(claims)].map(keys.claim));
  return new Map(items.map(({ pk, tenantId }) => [pk.slice("CLAIM#".length), tenantId]));
}

/** Writes a tenant's routes over those that the ledger has, unless its row changed since it was read. */
export async function restoreRoutes({ tenantId, version, generation }: TenantRow, cell: string, wanted: Route[]) {
  const bucket = bucketOf(tenantId);
  const { routes } = await readRoutes(cell, bucket);
  const kept = new Set(wanted.map(({ slot }) => slot));
  const extra = routes.filter((route) => route.tenantId === tenantId && !kept.has(route.slot));
  const put = (slot: number, item: object) => ({
    Put: { TableName, Item: { ...keys.route(cell, bucket, slot), ...item } },
  });
  try {
    await documents.send(
      new TransactWriteCommand({
        TransactItems: [
          {
            ConditionCheck: {
              TableName,
              Key: keys.tenant(tenantId),
              ConditionExpression: "version = :version",
              ExpressionAttributeValues: { ":version": version },
            },
          },
          ...wanted.map((route) => put(route.slot, { route })),
          ...extra.map(({ slot }) => put(slot, { removed: { slot, tenantId, generation } })),
        ],
      }),
    );
  } catch (error) {
    if (failedConditions(error) === undefined) throw error; // admission writes the routes itself
  }
}

/** Removes everything that is known of a removed tenant, unless its row changed since it was read. */
export async function forgetTenant({ tenantId, version }: TenantRow): Promise<boolean> {
  const atVersion = { ConditionExpression: "version = :version", ExpressionAttributeValues: { ":version": version } };
  try {
    await documents.send(
      new TransactWriteCommand({
        TransactItems: [
          { Delete: { TableName, Key: keys.tenant(tenantId), ...atVersion } },
          { Delete: { TableName, Key: keys.status(tenantId) } },
          { Delete: { TableName, Key: keys.announced(tenantId) } },
        ],
      }),
    );
    return true;
  } catch (error) {
    if (failedConditions(error) === undefined) throw error;
    return false;
  }
}

/** The notes of referenced hashes from the last eight days: one or several items for each time. */
export const readReferences = () => queryAll<References>(keys.references);
export async function saveReferences({ at, hashes }: References): Promise<void> {
  const expires = Math.floor(at / 1000) + auditLimits.referenceKeepSeconds;
  const { hashesPerNote } = auditLimits;
  for (let from = 0; from < hashes.length; from += hashesPerNote) {
    const note = { at, hashes: hashes.slice(from, from + hashesPerNote), expires };
    await documents.send(new PutCommand({ TableName, Item: { ...keys.reference(at, from), ...note } }));
  }
}

/** The tombstone of a slot or a claim, with its key. */
export interface FoundTombstone extends Tombstone {
  key: { pk: string; sk: string };
  what: { slot: number; protocol: string } | { claim: string };
}

/** The tombstone of an item; undefined if the item has none. */
export function tombstoneIn(item: LedgerItem): FoundTombstone | undefined {
  const { pk, sk, tenantId, absentFrom, seenAt } = item;
  const base = { key: { pk, sk }, tenantId: String(tenantId) };
  const marked = {
    ...(typeof absentFrom === "number" ? { absentFrom } : {}),
    ...(typeof seenAt === "number" ? { seenAt } : {}),
  };
  if (sk === "CLAIM" && item.releasedAt !== undefined) {
    const what = { claim: pk.slice("CLAIM#".length) };
    return { ...base, ...marked, cell: String(item.cell), at: Number(item.releasedAt), what };
  }
  if (sk !== "SLOT" || item.tombstone === undefined) return undefined;
  const { at } = item.tombstone as { at: number };
  const { cell, slot } = slotIn(item)!;
  return { ...base, ...marked, cell, at, what: { slot, protocol: String(item.protocol) } };
}

/** The cell and number of a slot's item or of a free item. */
export function slotIn({ pk, sk }: LedgerItem): { cell: string; slot: number } | undefined {
  const [kind, cell = "", number] = pk.split("#");
  if (kind === "SLOT" && sk === "SLOT") return { cell, slot: Number(number) };
  return kind === "FREE" ? { cell, slot: Number(sk) } : undefined;
}

const unchanged = (tombstone: FoundTombstone) => {
  const isClaim = "claim" in tombstone.what;
  return {
    ConditionExpression: isClaim
      ? "tenantId = :tenant AND releasedAt = :at"
      : "tenantId = :tenant AND tombstone.#at = :at",
    ...(isClaim ? {} : { ExpressionAttributeNames: { "#at": "at" } }),
    values: { ":tenant": tombstone.tenantId, ":at": tombstone.at },
  };
};

/** Notes the live generation as `seenAt` or `absentFrom`. Does nothing if the slot or name was claimed again. */
export async function markTombstone(
  tombstone: FoundTombstone,
  mark: "seenAt" | "absentFrom",
  generation: number,
): Promise<void> {
  const { values, ...condition } = unchanged(tombstone);
  try {
    await documents.send(
      new UpdateCommand({
        TableName,
        Key: tombstone.key,
        UpdateExpression: `SET ${mark} = :generation`,
        ...condition,
        ExpressionAttributeValues: { ...values, ":generation": generation },
      }),
    );
  } catch (error) {
    if (!isConditionFailed(error)) throw error;
  }
}

/**
 * Frees a tombstone, if it is unchanged since it was read. A name then has no owner. A slot becomes a free item and is
 * removed from the row of its last tenant (`row`).
 * @returns false when one of these items changed meanwhile
 */
export async function freeTombstone(
  tombstone: FoundTombstone,
  kind: SlotKind | undefined,
  row: TenantRow | undefined,
): Promise<boolean> {
  const { values, ...condition } = unchanged(tombstone);
  const gone = {
    Delete: { TableName, Key: tombstone.key, ...condition, ExpressionAttributeValues: values },
  };
  try {
    await documents.send(
      new TransactWriteCommand({
        TransactItems:
          "claim" in tombstone.what ? [gone] : [gone, ...releaseSlot(tombstone, tombstone.what, kind!, row)],
      }),
    );
    return true;
  } catch (error) {
    if (error instanceof Error && error.name === "TransactionCanceledException") return false; // or being written now
    throw error;
  }
}

function releaseSlot(
  { cell, tenantId }: FoundTombstone,
  { slot, protocol }: { slot: number; protocol: string },
  kind: SlotKind,
  row: TenantRow | undefined,
) {
  const writes = [
    { Put: { TableName, Item: keys.freeSlot(cell, kind, slot) } },
    { Delete: { TableName, Key: keys.route(cell, bucketOf(tenantId), slot) } },
  ];
  if (row === undefined || row.slots[protocol] !== slot) return writes;
  const { [protocol]: _, ...slots } = row.slots;
  const next: TenantRow = { ...row, version: row.version + 1, slots };
  const put = {
    TableName,
    Item: { ...keys.tenant(tenantId), version: next.version, row: next },
    ConditionExpression: "version = :version",
    ExpressionAttributeValues: { ":version": row.version },
  };
  return [...writes, { Put: put }];
}
