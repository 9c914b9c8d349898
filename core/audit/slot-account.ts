/** Which slots of a cell are accounted for: every slot below the counter has a tenant, is kept for one, or is free. */
import type { Cell } from "../../schemas/fleet.ts";
import { kindOfSlot, type SlotKind, slotAt, slotKinds } from "../slots/numbering.ts";

export interface SlotAccount {
  /** How many slots of each kind were ever handed out. */
  taken: Record<SlotKind, number>;
  /** Slots with a tenant, free ones, and those that a row or a running batch keeps. */
  known: Set<number>;
  owned: Set<number>;
  free: Set<number>;
}

export const newAccount = (taken: Record<SlotKind, number>): SlotAccount => ({
  taken,
  known: new Set(),
  owned: new Set(),
  free: new Set(),
});

/** Unaccounted slots that were handed out, as differences: the function that reserved them died. */
export function lostSlots(cell: Cell, { taken, known }: SlotAccount): Map<string, string> {
  const lost = new Map<string, string>();
  for (const kind of slotKinds)
    for (let position = 0; position < taken[kind]; position++) {
      const slot = slotAt(cell, kind, position);
      if (slot !== undefined && !known.has(slot)) lost.set(`${kind} ${slot}`, "lost");
    }
  return lost;
}

/** Slots that are free and have a tenant: they were freed as lost, and then taken after all. */
export const ownedAndFree = ({ owned, free }: SlotAccount): number[] =>
  [...free].filter((slot) => owned.has(slot)).sort((a, b) => a - b);

export const countFreeOf = ({ free }: SlotAccount, kind: SlotKind): number =>
  [...free].filter((slot) => kindOfSlot(slot) === kind).length;
