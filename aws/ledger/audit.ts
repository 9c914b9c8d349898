/** Reads the whole ledger, and stores what one audit keeps for the next. */
import {
  DeleteCommand,
  GetCommand,
  PutCommand,
  paginateScan,
  TransactWriteCommand,
  UpdateCommand,
} from "@aws-sdk/lib-dynamodb";
import type { TenantRow } from "../../core/admission/tenant-row.ts";
import type { Finding } from "../../core/audit/findings.ts";
import type { References } from "../../core/audit/objects.ts";
import type { Tombstone } from "../../core/audit/tombstones.ts";
import { partsOf } from "../../core/names/claims.ts";
import { holdsOf } from "../../core/names/points.ts";
import { bucketOf } from "../../core/routes/buckets.ts";
import { kindOfSlot } from "../../core/slots/numbering.ts";
import { auditLimits } from "../../schemas/limits.ts";
import type { Route } from "../../schemas/snapshot.ts";
import { documents, failedConditions, isConditionFailed } from "../documents.ts";
import { environment } from "../settings.ts";
import { readRoutes } from "./commits.ts";
import { keys } from "./keys.ts";
import { holdName, pointIn } from "./points.ts";
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

/** The tombstones of an item: a slot's, or one for each tenant that gave a hold of the name up. */
export function tombstonesIn(item: LedgerItem): FoundTombstone[] {
  const { pk, sk, tenantId } = item;
  const point = pointIn(item);
  if (point !== undefined)
    return holdsOf(point).flatMap(({ claim, hold }) =>
      hold.releasedAt === undefined
        ? []
        : [{ key: { pk, sk }, ...tombstoneOf(hold, hold.cell, hold.releasedAt), what: { claim } }],
    );
  if (sk !== "SLOT" || item.tombstone === undefined) return [];
  const { at } = item.tombstone as { at: number };
  const { cell, slot } = slotIn(item)!;
  const what = { slot, protocol: String(item.protocol) };
  return [{ key: { pk, sk }, ...tombstoneOf({ ...item, tenantId: String(tenantId) }, cell, at), what }];
}

const tombstoneOf = (
  {
    tenantId,
    seenAt,
    absentFrom,
    waivedAt,
  }: Partial<Record<"seenAt" | "absentFrom" | "waivedAt", unknown>> & { tenantId: string },
  cell: string,
  at: number,
): Tombstone => ({
  tenantId,
  cell,
  at,
  ...(typeof absentFrom === "number" ? { absentFrom } : {}),
  ...(typeof seenAt === "number" ? { seenAt } : {}),
  ...(typeof waivedAt === "number" ? { isWaived: true } : {}),
});

/** The cell and number of a slot's item or of a free item. */
export function slotIn({ pk, sk }: LedgerItem): { cell: string; slot: number } | undefined {
  const [kind, cell = "", number] = pk.split("#");
  if (kind === "SLOT" && sk === "SLOT") return { cell, slot: Number(number) };
  return kind === "FREE" ? { cell, slot: Number(sk) } : undefined;
}

/** Where a tombstone is in its item, and that it is unchanged since it was read. */
function placeOf({ what, tenantId, at }: FoundTombstone) {
  const values = { ":tenant": tenantId, ":at": at };
  if ("slot" in what) {
    const names = { "#at": "at" };
    return { path: "", condition: "tenantId = :tenant AND tombstone.#at = :at", names, values };
  }
  const names = { "#hold": holdName(what.claim, tenantId) };
  return { path: "#hold.", condition: "#hold.tenantId = :tenant AND #hold.releasedAt = :at", names, values };
}

/** Notes the live generation as `seenAt` or `absentFrom`. Does nothing if the slot or name was claimed again. */
export async function markTombstone(
  tombstone: FoundTombstone,
  mark: "seenAt" | "absentFrom",
  generation: number,
): Promise<void> {
  const { path, condition, names, values } = placeOf(tombstone);
  try {
    await documents.send(
      new UpdateCommand({
        TableName,
        Key: tombstone.key,
        UpdateExpression: `SET ${path}${mark} = :generation`,
        ConditionExpression: condition,
        ExpressionAttributeNames: names,
        ExpressionAttributeValues: { ...values, ":generation": generation },
      }),
    );
  } catch (error) {
    if (!isConditionFailed(error)) throw error;
  }
}

/**
 * Frees a name's tombstone, if it is unchanged since it was read: its tenant holds nothing of the name any more. The item goes
 * with the last hold.
 * @returns false when it changed meanwhile
 */
export async function freeName(tombstone: FoundTombstone & { what: { claim: string } }, now: number): Promise<boolean> {
  const { key, tenantId } = tombstone;
  const { condition, names, values } = placeOf(tombstone);
  const isBelow = partsOf(tombstone.what.claim).kind === "below";
  const stamp = `free ${tenantId} ${Object.values(names).join()} ${now}`;
  try {
    const { Attributes = {} } = await documents.send(
      new UpdateCommand({
        TableName,
        Key: key,
        UpdateExpression: `SET stamp = :stamp REMOVE #hold${isBelow ? " DELETE tenants :tenants" : ""}`,
        ConditionExpression: condition,
        ExpressionAttributeNames: names,
        ExpressionAttributeValues: {
          ...values,
          ":stamp": stamp,
          ...(isBelow ? { ":tenants": new Set([tenantId]) } : {}),
        },
        ReturnValues: "ALL_NEW",
      }),
    );
    const left = pointIn(Attributes);
    if (left === undefined || holdsOf(left).length > 0 || left.grant !== undefined) return true;
    const unheld = { ConditionExpression: "stamp = :stamp", ExpressionAttributeValues: { ":stamp": stamp } };
    await documents.send(new DeleteCommand({ TableName, Key: key, ...unheld }));
  } catch (error) {
    if (!isConditionFailed(error)) throw error;
    return false;
  }
  return true;
}

/**
 * Frees a slot's tombstone, if it is unchanged since it was read: it becomes a free item and is removed from the row of its
 * last tenant (`row`).
 * @returns false when one of these items changed meanwhile
 */
export async function freeSlot(
  tombstone: FoundTombstone & { what: { slot: number } },
  row: TenantRow | undefined,
): Promise<boolean> {
  const { what, key } = tombstone;
  const { condition, names, values } = placeOf(tombstone);
  const gone = {
    Delete: {
      TableName,
      Key: key,
      ConditionExpression: condition,
      ExpressionAttributeNames: names,
      ExpressionAttributeValues: values,
    },
  };
  try {
    await documents.send(
      new TransactWriteCommand({
        TransactItems: [gone, ...releaseSlot(tombstone, what as { slot: number; protocol: string }, row)],
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
  row: TenantRow | undefined,
) {
  const writes = [
    { Put: { TableName, Item: keys.freeSlot(cell, kindOfSlot(slot), slot) } },
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
