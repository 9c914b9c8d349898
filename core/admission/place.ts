import type { Cell } from "../../schemas/fleet.ts";
import { isRaw } from "./routes.ts";
import type { TenantRow } from "./tenant-row.ts";
import type { Validated } from "./validate.ts";

export type SlotKind = "raw" | "tls";
export const slotKinds: SlotKind[] = ["raw", "tls"];
export const kindOf = (protocol: string): SlotKind => (isRaw(protocol) ? "raw" : "tls");

/** A cell, and how many slots of each kind nobody has. */
export interface CellRoom {
  cell: Cell;
  room: Record<SlotKind, number>;
}

/** A slot number of a cell from the count within its kind; undefined when the cell has no such slot. */
export function slotOf(cell: Cell, kind: SlotKind, number: number): number | undefined {
  if (kind === "raw") return number < cell.portCount ? number : undefined;
  return number < cell.tlsCount ? cell.portCount + number : undefined;
}

export const slotsIn = (cell: Cell, kind: SlotKind) => (kind === "raw" ? cell.portCount : cell.tlsCount);

/** Slots of a kind that nobody has: numbers never handed out, and those that are back. */
export const roomIn = (cell: Cell, kind: SlotKind, { taken, free }: { taken: number; free: number }) =>
  Math.max(0, slotsIn(cell, kind) - taken) + free;

/** A tenant with slots, or with numbers kept for it, stays where it is; any other may go anywhere. */
const isSettled = (row: TenantRow | undefined): row is TenantRow =>
  row !== undefined &&
  (row.admitted !== undefined || Object.keys(row.slots).length > 0 || (row.spare ?? []).length > 0);

/**
 * The cell of each tenant, in order of the tenants: the one it is in, or else the one with most room for all that its
 * record wants. What is given here is room that the next tenant does not have.
 */
export function placeTenants(
  tenants: { tenantId: string; row: TenantRow | undefined; record: Validated | undefined }[],
  rooms: CellRoom[],
): Map<string, Cell> {
  const left = new Map(rooms.map(({ cell, room }) => [cell.name, { cell, room: { ...room } }]));
  const placed = new Map<string, Cell>();
  for (const { tenantId, row, record } of tenants) {
    const home = isSettled(row) ? left.get(row.cell) : undefined;
    if (isSettled(row) && home === undefined) throw new Error(`cell ${row.cell} of ${tenantId} is not in the fleet`);
    const kinds = record?.ok ? Object.keys(record.record.protocols).map(kindOf) : [];
    const wanted = { raw: kinds.filter((kind) => kind === "raw").length, tls: kinds.includes("tls") ? 1 : 0 };
    const cell = home ?? roomiest([...left.values()], wanted);
    placed.set(tenantId, cell.cell);
    if (home === undefined) for (const kind of slotKinds) cell.room[kind] -= wanted[kind];
  }
  return placed;
}

/** By what is left of the kind that would be scarcest; of equals the first in the fleet's order. */
function roomiest(cells: CellRoom[], wanted: Record<SlotKind, number>): CellRoom {
  const spare = ({ room }: CellRoom) =>
    Math.min(...slotKinds.filter((kind) => wanted[kind] > 0).map((kind) => room[kind] - wanted[kind]));
  return cells.reduce((best, cell) => (spare(cell) > spare(best) ? cell : best));
}
