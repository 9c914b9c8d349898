/** Slots reserved for a batch, and which tenant gets which. */
import { kindOf, type SlotKind } from "./numbering.ts";

/** A slot reserved for a tenant: one that was never used, or a free item, which is deleted as the slot is claimed. */
export interface Reserved {
  slot: number;
  free: boolean;
}

/** Protocols of a tenant that need a slot in its cell. */
export interface Want {
  tenantId: string;
  cell: string;
  protocols: string[];
}

/** Reserved slots of one cell and kind. */
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
 * Slots by tenant and protocol. A tenant gets all the slots that it wants or none: a tenant that wants more slots than
 * exist must not block others that want fewer. Tenants without enough slots are absent; `unused` has the other slots.
 */
export function shareOut(
  wants: Want[],
  pools: Pool[],
): { given: Map<string, Record<string, Reserved>>; unused: Pool[] } {
  const rest = pools.map((pool) => ({ ...pool, slots: pool.slots.slice() }));
  const given = new Map<string, Record<string, Reserved>>();
  for (const { tenantId, cell, protocols } of wants) {
    const sources = protocols.map((protocol) =>
      rest.find((pool) => pool.cell === cell && pool.kind === kindOf(protocol)),
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
  return { given, unused: rest.filter(({ slots }) => slots.length > 0) };
}
