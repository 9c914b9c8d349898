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

/** The account as it is kept between the parts of a long audit: one bit for each number. */
export interface PackedAccount {
  taken: Record<SlotKind, number>;
  known: Uint8Array;
  owned: Uint8Array;
  free: Uint8Array;
}

export const pack = ({ taken, known, owned, free }: SlotAccount): PackedAccount => ({
  taken,
  known: bitsOf(known),
  owned: bitsOf(owned),
  free: bitsOf(free),
});
export const unpack = ({ taken, known, owned, free }: PackedAccount): SlotAccount => ({
  taken,
  known: setOf(known),
  owned: setOf(owned),
  free: setOf(free),
});

function bitsOf(slots: Set<number>): Uint8Array {
  const bits = new Uint8Array(Math.floor(Math.max(0, ...slots) / 8) + 1);
  for (const slot of slots) bits[slot >> 3]! |= 1 << (slot & 7);
  return bits;
}
const setOf = (bits: Uint8Array) =>
  new Set(
    Array.from({ length: bits.length * 8 }, (_, slot) => slot).filter((slot) => bits[slot >> 3]! & (1 << (slot & 7))),
  );

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
