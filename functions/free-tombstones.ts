/** The audit's first part: frees slots and names once no edge can serve them any more, and finds lost slots. */

import { readTenantRow } from "../aws/ledger/admission.ts";
import {
  type FoundTombstone,
  freeTombstone,
  type LedgerItem,
  markTombstone,
  readFindings,
  saveFindings,
  scanLedger,
  slotIn,
  tombstoneIn,
} from "../aws/ledger/audit.ts";
import { readCell } from "../aws/ledger/cells.ts";
import { readEdges } from "../aws/ledger/edges.ts";
import { takeLease } from "../aws/ledger/leases.ts";
import { countFree, returnSlot, withdrawSlot } from "../aws/ledger/slots.ts";
import { logger } from "../aws/logger.ts";
import { inParallel } from "../aws/parallel.ts";
import { loadSettings } from "../aws/settings.ts";
import { publicKeys } from "../aws/signing.ts";
import { getManifest, getRoutes } from "../aws/snapshots.ts";
import { bucketsOf, homeFirst } from "../control/publishing/regions.ts";
import type { TenantRow } from "../core/admission/tenant-row.ts";
import { assertFree } from "../core/assert.ts";
import { persistentDifferences } from "../core/audit/drift.ts";
import { countFreeOf, lostSlots, newAccount, ownedAndFree, type SlotAccount } from "../core/audit/slot-account.ts";
import { isConclusive, mayFree } from "../core/audit/tombstones.ts";
import type { Batch } from "../core/rollout/batch.ts";
import { bucketOf } from "../core/routes/buckets.ts";
import { kindOfSlot, type SlotKind, slotKinds } from "../core/slots/numbering.ts";
import type { Cell, Fleet } from "../schemas/fleet.ts";
import { auditLimits, rolloutLimits } from "../schemas/limits.ts";
import type { Route } from "../schemas/snapshot.ts";
import { AuditInput } from "../schemas/workflows.ts";
import { handler as shell } from "./shell/handler.ts";

export const handler = shell(AuditInput, async (_, { awsRequestId, getRemainingTimeInMillis }) => {
  const hasTime = () => getRemainingTimeInMillis() > auditLimits.reserveMs;
  const { fleet, frozen } = await loadSettings();
  if (frozen) return { freed: 0, returned: 0 };
  const ledger = await readLedger(fleet);
  let freed = 0;
  let returned = 0;
  for (const cell of fleet.cells) {
    const found = ledger.tombstones.filter((tombstone) => tombstone.cell === cell.name);
    if ((await readCell(cell.name)).halt !== undefined) continue;
    const account = ledger.accounts.get(cell.name)!;
    freed += await freeIn(cell, fleet, found, awsRequestId, account, hasTime);
    returned += await returnLost(cell, account);
  }
  logger.info("tombstones checked", { found: ledger.tombstones.length, freed, returned });
  return { freed, returned };
});

async function readLedger(fleet: Fleet) {
  const accounts = new Map<string, SlotAccount>();
  for (const { name } of fleet.cells) {
    const { counters } = await readCell(name); // read before the scan: a slot handed out during it is not lost
    accounts.set(name, newAccount({ raw: counters.raw.taken, tls: counters.tls.taken }));
  }
  const tombstones: FoundTombstone[] = [];
  for await (const page of scanLedger())
    for (const item of page) {
      const tombstone = tombstoneIn(item);
      if (tombstone !== undefined) tombstones.push(tombstone);
      note(item, accounts);
    }
  return { tombstones, accounts };
}

function note(item: LedgerItem, accounts: Map<string, SlotAccount>): void {
  const at = slotIn(item);
  if (at !== undefined) {
    const account = accounts.get(at.cell);
    account?.known.add(at.slot);
    account?.[item.pk.startsWith("FREE#") ? "free" : "owned"].add(at.slot);
  } else if (item.sk === "ROW") {
    const { cell, spare = [] } = item.row as TenantRow;
    for (const slot of spare) accounts.get(cell)?.known.add(slot);
  } else if (item.sk === "BATCH" && Date.now() - Number(item.startedAt) < rolloutLimits.batchActiveMs) {
    for (const { cell, slots } of Object.values((item as unknown as Batch).reserved ?? {}))
      for (const { slot } of Object.values(slots)) accounts.get(cell)?.known.add(slot);
  }
}

async function freeIn(
  cell: Cell,
  fleet: Fleet,
  found: FoundTombstone[],
  holder: string,
  account: SlotAccount,
  hasTime: () => boolean,
): Promise<number> {
  if (found.length === 0) return 0;
  const fresh = found.filter((tombstone) => tombstone.absentFrom === undefined);
  await markIn(cell, fleet, fresh, holder);
  const publishedFrom = await oldestManifest(cell, fleet);
  const facts = { edges: await readEdges(cell.name), publishedFrom, now: Date.now() };
  const servedFrom = Math.min(publishedFrom, ...facts.edges.map(({ appliedGeneration }) => appliedGeneration));
  const { slot, name } = fleet.coolOffSeconds;
  const due = found.filter((tombstone) =>
    mayFree(tombstone, { ...facts, coolOffMs: ("claim" in tombstone.what ? name : slot) * 1000 }),
  );
  const freed = await inParallel(due, async (tombstone) => {
    const { what, tenantId } = tombstone;
    if (!hasTime()) return false; // the next audit frees the rest
    const row = "claim" in what ? undefined : await readTenantRow(tenantId);
    const kind = "claim" in what ? undefined : kindOfSlot(what.slot);
    assertFree(tombstone.key.pk, tombstone.absentFrom, servedFrom);
    if (!(await freeTombstone(tombstone, kind, row))) return false;
    if ("slot" in what) account.free.add(what.slot);
    if ("slot" in what) account.owned.delete(what.slot);
    return true;
  });
  return freed.filter(Boolean).length;
}

/** 0 when a region's manifest is missing or can't be read: an edge there may boot with any generation. */
async function oldestManifest(cell: Cell, fleet: Fleet): Promise<number> {
  const keys = await publicKeys();
  const buckets = bucketsOf(fleet).filter(({ region }) => cell.regions.includes(region));
  const stored = await Promise.allSettled(buckets.map((bucket) => getManifest(bucket, cell.name, keys)));
  return Math.min(
    ...stored.map((found) => (found.status === "fulfilled" ? (found.value?.manifest?.generation ?? 0) : 0)),
  );
}

/** Notes tombstones that the live commit is without. Taking the lease, even for 0 ms, ends every commit in progress. */
async function markIn(cell: Cell, fleet: Fleet, fresh: FoundTombstone[], holder: string): Promise<void> {
  if (fresh.length === 0) return;
  const lease = await takeLease(`publish#${cell.name}`, holder, 0, Date.now());
  const { commit } = await readCell(cell.name);
  if (commit === undefined) return;
  const buckets = homeFirst(fleet);
  for (const tombstone of fresh) {
    const { routes } = await getRoutes(buckets, commit.routes[bucketOf(tombstone.tenantId)]!);
    const isLive = routes.filter(({ tenantId }) => tenantId === tombstone.tenantId).some(has(tombstone));
    if (!isLive && isConclusive(tombstone, commit.generation, lease !== undefined))
      await markTombstone(tombstone, "absentFrom", commit.generation);
    else if (tombstone.seenAt === undefined) await markTombstone(tombstone, "seenAt", commit.generation);
  }
}

/** Whether a route still serves the slot or claim. A zone is served as long as any name in it is served. */
const has =
  ({ what }: FoundTombstone) =>
  (route: Route): boolean => {
    if (!("claim" in what)) return route.slot === what.slot;
    const names = [...route.hostnames, ...(route.wildcard === undefined ? [] : [route.wildcard])];
    if (!what.claim.startsWith("@")) return names.includes(what.claim);
    return names.some((name) => name.slice(name.indexOf(".") + 1) === what.claim.slice(1));
  };

/** Frees slots that two audits find unaccounted, and withdraws free slots that have a tenant after all. */
async function returnLost(cell: Cell, account: SlotAccount): Promise<number> {
  const { name } = cell;
  const lost = lostSlots(cell, account);
  const now = Date.now();
  const scope = `slots of ${name}`;
  let returned = 0;
  for (const key of persistentDifferences(lost, await readFindings(scope), now)) {
    const [kind, slot] = key.split(" ") as [SlotKind, string];
    if (!(await returnSlot(name, kind, Number(slot)))) continue;
    account.free.add(Number(slot));
    returned++;
  }
  await saveFindings(scope, lost, now);
  for (const slot of ownedAndFree(account)) await withdrawSlot(name, kindOfSlot(slot), slot);
  for (const kind of slotKinds) await countFree(name, kind, countFreeOf(account, kind));
  return returned;
}
