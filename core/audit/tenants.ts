import { auditLimits } from "../../schemas/limits.ts";
import { isCurrent } from "../admission/admit.ts";
import { absent, type TenantRow } from "../admission/tenant-row.ts";
import type { Validated } from "../admission/validate.ts";
import { ownerOf, pointOf } from "../names/claims.ts";
import type { NameRules } from "../names/ownership.ts";
import { contestOf, type Point } from "../names/points.ts";
import { kindOf, type SlotKind, slotKinds } from "../slots/numbering.ts";
import { type CellRoom, roomFor } from "../slots/placement.ts";

/** What an audit reads of one tenant. */
export interface AuditedTenant {
  row: TenantRow;
  /** The record's canonical hash, `absent` without a record, and what the fleet of today says of the record. */
  hash: string;
  record: Validated | undefined;
  /** The last settled status: its generation, and by how many edges it is served. */
  status: { generation: number; served: string } | undefined;
}

/**
 * How a tenant's record, row and status differ: its work was lost, failed for good, or never settled, or the fleet changed.
 * `points` has the ledger's points of blocked claims. Undefined without a difference.
 */
export function differenceOf(
  { row, hash, record, status }: AuditedTenant,
  { rules, points }: { rules: NameRules; points: Map<string, Point> },
): string | undefined {
  const how = (what: string) => `${what} ${row.version}`;
  if (isOfLostRow({ row, status })) return how(`status of generation ${status?.generation}`);
  if (row.hash !== hash) return how(`record ${hash.slice(0, 12)}`);
  const { blocked = [], tenantId, state } = row;
  const owner = ownerOf(record?.ok ? record.record : { tenantId });
  const free = (claim: string) => contestOf(claim, { tenantId, owner }, points.get(pointOf(claim))) === undefined;
  if (blocked.length > 0 && blocked.every(free)) return how("names are free");
  if (row.retry && blocked.length === 0 && state !== "Pending") return how("to be tried again");
  if (!isCurrent({ row, hash, record, rules })) return how("the fleet changed");
  const admitted = state === "Removed" ? row.generation : (row.admitted?.generation ?? 0);
  if (admitted > (status?.generation ?? 0)) return how("not settled");
  return admitted > 0 && status?.served !== "all" ? how("not served everywhere") : undefined;
}

/**
 * Whether the status is of a generation that the row never settled: the ledger was restored, and the row is older, or new
 * again. A rollout settles what is admitted, or a removal, which leaves nothing admitted.
 */
export const isOfLostRow = ({ row, status }: Pick<AuditedTenant, "row" | "status">): boolean =>
  status !== undefined && status.generation > (row.admitted?.generation ?? row.generation);

/** Whether nothing needs the row of a removed tenant any more: its slots are free, and its removal is settled and old. */
export function isForgettable({ row, hash, status }: AuditedTenant, now: number): boolean {
  const hasSlots = Object.keys(row.slots).length > 0 || row.spare !== undefined;
  if (row.state !== "Removed" || hash !== absent || hasSlots || now - row.at < auditLimits.removedKeepMs) return false;
  return status !== undefined && status.generation >= row.generation && status.served === "all";
}

/** A tenant that waits for room, and the protocols of its record. */
export interface PendingTenant extends Pick<TenantRow, "tenantId" | "cell" | "slots" | "spare"> {
  protocols: string[];
}

/** Pending tenants whose missing slots all fit into one cell. A tenant that has slots fits only into its own cell. */
export function admissible(pending: PendingTenant[], rooms: CellRoom[]): string[] {
  const fits = (tenant: PendingTenant) => {
    const { cell: own, protocols, slots } = tenant;
    const missing = protocols.filter((protocol) => !Object.hasOwn(slots, protocol));
    const cells = rooms.filter(({ cell }) => Object.keys(slots).length === 0 || cell.name === own);
    const wanted = (kind: SlotKind) => missing.filter((protocol) => kindOf(protocol) === kind).length;
    return cells.some((cell) => slotKinds.every((kind) => roomFor(tenant, cell, kind) >= wanted(kind)));
  };
  return pending
    .filter(fits)
    .map(({ tenantId }) => tenantId)
    .sort()
    .slice(0, auditLimits.pendingTriedMax);
}
