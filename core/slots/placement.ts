/** Which cell a tenant lives in. */
import type { Cell } from "../../schemas/fleet.ts";
import type { TenantRow } from "../admission/tenant-row.ts";
import type { Validated } from "../admission/validate.ts";
import { kindOf, kindOfSlot, type SlotKind, slotKinds, slotsIn } from "./numbering.ts";

/** A cell, and how many slots of each kind are free. */
export interface CellRoom {
  cell: Cell;
  room: Record<SlotKind, number>;
}

/** Free slots of a kind: those never used, and those given back. */
export const roomIn = (cell: Cell, kind: SlotKind, { taken, free }: { taken: number; free: number }) =>
  Math.max(0, slotsIn(cell, kind) - taken) + free;

/** A tenant with slots stays in its cell; any other may go anywhere. */
const isSettled = (row: TenantRow | undefined): row is TenantRow =>
  row !== undefined && (row.admitted !== undefined || Object.keys(row.slots).length > 0);

/**
 * The cell of each tenant, in order of the tenants: the one it is in, or else the one with most room for all that its
 * record wants. Room that one tenant gets is not offered to the next.
 */
export function placeTenants(
  tenants: { tenantId: string; row: TenantRow | undefined; record: Validated | undefined }[],
  rooms: CellRoom[],
): Map<string, Cell> {
  const cells = new Map(rooms.map(({ cell, room }) => [cell.name, { cell, room: { ...room } }]));
  const placed = new Map<string, Cell>();
  for (const { tenantId, row, record } of tenants) {
    const home = isSettled(row) ? cells.get(row.cell) : undefined;
    if (isSettled(row) && home === undefined) throw new Error(`cell ${row.cell} of ${tenantId} is not in the fleet`);
    const kinds = record?.ok ? Object.keys(record.record.protocols).map(kindOf) : [];
    const wanted = { raw: kinds.filter((kind) => kind === "raw").length, tls: kinds.includes("tls") ? 1 : 0 };
    const chosen = home ?? roomiest([...cells.values()], wanted, row);
    placed.set(tenantId, chosen.cell);
    if (home === undefined) for (const kind of slotKinds) chosen.room[kind] -= wanted[kind];
  }
  return placed;
}

/**
 * The cell with most room left of the kind that would become scarcest; the first of the fleet among equals. Spare slots that
 * the tenant has in a cell count as room there.
 */
function roomiest(cells: CellRoom[], wanted: Record<SlotKind, number>, row: TenantRow | undefined): CellRoom {
  const spare = ({ cell }: CellRoom, kind: SlotKind) =>
    row?.cell === cell.name ? (row.spare ?? []).filter((slot) => kindOfSlot(slot) === kind).length : 0;
  const roomAfter = (cell: CellRoom) =>
    Math.min(
      ...slotKinds.filter((kind) => wanted[kind] > 0).map((kind) => cell.room[kind] + spare(cell, kind) - wanted[kind]),
    );
  return cells.reduce((best, cell) => (roomAfter(cell) > roomAfter(best) ? cell : best));
}
