import type { Cell } from "../../schemas/fleet.ts";
import type { Reserved } from "./admit.ts";
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
  return number < cell.tlsCount ? tlsSlotBase + number : undefined;
}

/** Above the most ports that a cell can have: a cell may get more ports without its tls slots being renumbered. */
export const tlsSlotBase = 20_000;
export const kindOfSlot = (slot: number): SlotKind => (slot < tlsSlotBase ? "raw" : "tls");

export const slotsIn = (cell: Cell, kind: SlotKind) => (kind === "raw" ? cell.portCount : cell.tlsCount);

/** Slots of a kind that nobody has: numbers never handed out, and those that are back. */
export const roomIn = (cell: Cell, kind: SlotKind, { taken, free }: { taken: number; free: number }) =>
  Math.max(0, slotsIn(cell, kind) - taken) + free;

/** A tenant with slots stays where it is; any other may go anywhere. */
const isSettled = (row: TenantRow | undefined): row is TenantRow =>
  row !== undefined && (row.admitted !== undefined || Object.keys(row.slots).length > 0);

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
    const cell = home ?? roomiest([...left.values()], wanted, row);
    placed.set(tenantId, cell.cell);
    if (home === undefined) for (const kind of slotKinds) cell.room[kind] -= wanted[kind];
  }
  return placed;
}

/** By what is left of the kind that would be scarcest, numbers kept for it among it; of equals the fleet's first. */
function roomiest(cells: CellRoom[], wanted: Record<SlotKind, number>, row: TenantRow | undefined): CellRoom {
  const kept = ({ cell }: CellRoom, kind: SlotKind) =>
    row?.cell === cell.name ? (row.spare ?? []).filter((slot) => kindOfSlot(slot) === kind).length : 0;
  const spare = (cell: CellRoom) =>
    Math.min(
      ...slotKinds.filter((kind) => wanted[kind] > 0).map((kind) => cell.room[kind] + kept(cell, kind) - wanted[kind]),
    );
  return cells.reduce((best, cell) => (spare(cell) > spare(best) ? cell : best));
}

/** Protocols of a tenant that need a slot in its cell. */
export interface Want {
  tenantId: string;
  cell: string;
  protocols: string[];
}

/** Slots of a cell and kind that are to be given out. */
export interface Pool {
  cell: string;
  kind: SlotKind;
  slots: Reserved[];
}

/** How many slots of each cell and kind are wanted, in order. */
export function poolsWanted(wants: Want[]): { cell: string; kind: SlotKind; count: number }[] {
  const counts = new Map<string, { cell: string; kind: SlotKind; count: number }>();
  for (const { cell, protocols } of wants)
    for (const protocol of protocols) {
      const kind = kindOf(protocol);
      const known = counts.get(`${cell} ${kind}`) ?? { cell, kind, count: 0 };
      counts.set(`${cell} ${kind}`, { ...known, count: known.count + 1 });
    }
  return [...counts.keys()].sort().map((key) => counts.get(key)!);
}

/**
 * Slots by tenant and protocol: all that a tenant wants, or none, so that who needs more than there is does not keep others
 * from what would do for them. Tenants without enough are absent; `left` is what nobody got.
 */
export function shareOut(wants: Want[], pools: Pool[]): { given: Map<string, Record<string, Reserved>>; left: Pool[] } {
  const left = pools.map((pool) => ({ ...pool, slots: pool.slots.slice() }));
  const given = new Map<string, Record<string, Reserved>>();
  for (const { tenantId, cell, protocols } of wants) {
    const sources = protocols.map((protocol) =>
      left.find((pool) => pool.cell === cell && pool.kind === kindOf(protocol)),
    );
    const enough = sources.every(
      (pool) => pool !== undefined && pool.slots.length >= sources.filter((other) => other === pool).length,
    );
    if (!enough) continue;
    given.set(
      tenantId,
      Object.fromEntries(protocols.map((protocol, index) => [protocol, sources[index]!.slots.shift()!])),
    );
  }
  return { given, left: left.filter(({ slots }) => slots.length > 0) };
}
