/** Chooses a cell for each tenant. */
import type { Cell } from "../../schemas/fleet.ts";
import type { TenantRow } from "../admission/tenant-row.ts";
import type { Validated } from "../admission/validate.ts";
import { kindOf, kindOfSlot, type SlotKind, slotKinds, slotsIn, slottedIn } from "./numbering.ts";

/** A cell, and how many slots of each kind are free. */
export interface CellRoom {
  cell: Cell;
  room: Record<SlotKind, number>;
  /** A halted cell admits nobody; the other cells do. */
  isHalted?: boolean;
}

/** A tenant's cell, or why it must wait for one: that is no verdict on its record. */
export type Placement = { cell: Cell } | { waits: string };

/** Free slots of a kind: those never used, and those given back. */
export const roomIn = (cell: Cell, kind: SlotKind, { taken, free }: { taken: number; free: number }) =>
  Math.max(0, slotsIn(cell, kind) - taken) + free;

/** Slots of a kind that a tenant can get in a cell: the free ones, and its own spare ones. */
export const roomFor = (
  tenant: Pick<TenantRow, "cell" | "spare"> | undefined,
  { cell, room }: CellRoom,
  kind: SlotKind,
): number =>
  room[kind] +
  (tenant?.cell === cell.name ? (tenant.spare ?? []).filter((slot) => kindOfSlot(slot) === kind).length : 0);

/** A tenant with slots stays in its cell; any other may go anywhere. */
const isSettled = (row: TenantRow | undefined): row is TenantRow =>
  row !== undefined && (row.admitted !== undefined || Object.keys(row.slots).length > 0);

/**
 * The cell of each tenant, in the order of the tenants: its current cell, or else the cell with the most room for all
 * protocols of its record. Room that one tenant gets is not offered to the next. A tenant of a cell that is halted or has
 * gone waits alone.
 */
export function placeTenants(
  tenants: { tenantId: string; row: TenantRow | undefined; record: Validated | undefined }[],
  rooms: CellRoom[],
): Map<string, Placement> {
  const cells = new Map(rooms.map((cell) => [cell.cell.name, { ...cell, room: { ...cell.room } }]));
  const open = [...cells.values()].filter(({ isHalted }) => !isHalted);
  const placed = new Map<string, Placement>();
  for (const { tenantId, row, record } of tenants) {
    const home = isSettled(row) ? cells.get(row.cell) : undefined;
    const waits = waitsFor(row, home, open);
    if (waits !== undefined) {
      placed.set(tenantId, { waits });
      continue;
    }
    const kinds = record?.ok ? slottedIn(record.record).map(kindOf) : [];
    const wanted = { raw: kinds.filter((kind) => kind === "raw").length, tls: kinds.includes("tls") ? 1 : 0 };
    const chosen = home ?? roomiest(open, wanted, row);
    placed.set(tenantId, { cell: chosen.cell });
    if (home === undefined) for (const kind of slotKinds) chosen.room[kind] -= wanted[kind];
  }
  return placed;
}

function waitsFor(row: TenantRow | undefined, home: CellRoom | undefined, open: CellRoom[]): string | undefined {
  if (!isSettled(row)) return open.length === 0 ? "every cell is halted" : undefined;
  if (home === undefined) return `its cell ${row.cell} is not in the fleet`;
  return home.isHalted ? `its cell ${row.cell} is halted` : undefined;
}

/**
 * The cell that would keep the most room of its scarcest wanted kind; among equal cells, the first of the fleet. Spare
 * slots that the tenant has in a cell count as room there.
 */
function roomiest(cells: CellRoom[], wanted: Record<SlotKind, number>, row: TenantRow | undefined): CellRoom {
  const roomAfter = (cell: CellRoom) =>
    Math.min(...slotKinds.filter((kind) => wanted[kind] > 0).map((kind) => roomFor(row, cell, kind) - wanted[kind]));
  return cells.reduce((best, cell) => (roomAfter(cell) > roomAfter(best) ? cell : best));
}
