/** Slot numbers of a cell: raw slots from 0, one for each TCP port; tls slots from `tlsSlotBase`. */
import type { Cell } from "../../schemas/fleet.ts";
import { slotLimits } from "../../schemas/limits.ts";
import { settingsOf, type TenantRecord } from "../../schemas/tenant.ts";

export type SlotKind = "raw" | "tls";
export const slotKinds: SlotKind[] = ["raw", "tls"];

/** Any protocol except `tls` is raw: it has its own port. */
export const isRaw = (protocol: string) => protocol !== "tls";
export const kindOf = (protocol: string): SlotKind => (isRaw(protocol) ? "raw" : "tls");
/** Protocols of a record that have a slot: those that are told by ALPN share the one of tls. */
export const slottedIn = (record: Pick<TenantRecord, "protocols"> | undefined): string[] =>
  Object.entries(record?.protocols ?? {}).flatMap(([name, value]) =>
    settingsOf(value).alpn === undefined ? [name] : [],
  );
export const kindOfSlot = (slot: number): SlotKind => (slot < slotLimits.tlsSlotBase ? "raw" : "tls");

/** The slot at a position within its kind; undefined when the cell has no such slot. */
export function slotAt(cell: Cell, kind: SlotKind, position: number): number | undefined {
  if (kind === "raw") return position < cell.portCount ? position : undefined;
  return position < cell.tlsCount ? slotLimits.tlsSlotBase + position : undefined;
}

/** How many slots of a kind a cell has. */
export const slotsIn = (cell: Cell, kind: SlotKind) => (kind === "raw" ? cell.portCount : cell.tlsCount);
