/** The audit's first part: frees slots and names once no edge can serve them any more, and finds lost slots. */

import { readTenantRow } from "../aws/ledger/admission.ts";
import {
  type FoundTombstone,
  freeName,
  freeSlot,
  type LedgerItem,
  type LedgerKey,
  markTombstone,
  readNote,
  saveNote,
  scanLedger,
  slotIn,
  tombstonesIn,
} from "../aws/ledger/audit.ts";
import { readCell } from "../aws/ledger/cells.ts";
import { readEdges } from "../aws/ledger/edges.ts";
import { takeLease } from "../aws/ledger/leases.ts";
import { countFree, returnSlot, withdrawSlot } from "../aws/ledger/slots.ts";
import { logger } from "../aws/logger.ts";
import { inParallel } from "../aws/parallel.ts";
import { loadSettings } from "../aws/settings.ts";
import { publicKeys } from "../aws/signing.ts";
import { getManifest } from "../aws/snapshots.ts";
import { bucketsOf, homeFirst } from "../control/publishing/regions.ts";
import { readFrom, readTree } from "../control/publishing/trees.ts";
import type { TenantRow } from "../core/admission/tenant-row.ts";
import { assertFree } from "../core/assert.ts";
import { weigh } from "../core/audit/findings.ts";
import {
  countFreeOf,
  lostSlots,
  newAccount,
  ownedAndFree,
  type PackedAccount,
  pack,
  type SlotAccount,
  unpack,
} from "../core/audit/slot-account.ts";
import { isConclusive, mayFree } from "../core/audit/tombstones.ts";
import { serves } from "../core/names/claims.ts";
import { bucketOf, digitsOf } from "../core/routes/buckets.ts";
import { kindOfSlot, type SlotKind, slotKinds } from "../core/slots/numbering.ts";
import type { Cell, Fleet } from "../schemas/fleet.ts";
import { auditLimits, rolloutLimits } from "../schemas/limits.ts";
import type { Route } from "../schemas/snapshot.ts";
import { AuditInput } from "../schemas/workflows.ts";
import { handler as shell } from "./shell/handler.ts";

const scope = "slots";

/** A walk through the ledger that one audit did not finish: where the next one goes on, and each cell's slots so far. */
interface Progress {
  from: LedgerKey;
  accounts: Record<string, PackedAccount>;
}

/** Tombstones are freed as they are found. Slots are accounted for when a walk has come to the ledger's end. */
export const handler = shell(AuditInput, async (_, { awsRequestId, getRemainingTimeInMillis }) => {
  const hasTime = () => getRemainingTimeInMillis() > auditLimits.reserveMs;
  const { fleet, frozen } = await loadSettings();
  if (frozen) return { freed: 0, returned: 0 };
  const { progress } = await readNote<Progress>(scope);
  const walk = await walkLedger(progress, fleet, hasTime);
  let freed = 0;
  let returned = 0;
  for (const cell of fleet.cells) {
    const found = walk.tombstones.filter((tombstone) => tombstone.cell === cell.name);
    if ((await readCell(cell.name)).halt !== undefined) continue;
    const account = walk.accounts.get(cell.name)!;
    freed += await freeIn(cell, fleet, found, awsRequestId, account, hasTime);
    if (walk.next === undefined) returned += await returnLost(cell, account);
  }
  const accounts = Object.fromEntries([...walk.accounts].map(([cell, account]) => [cell, pack(account)]));
  await saveNote<Progress>(scope, {
    findings: [],
    ...(walk.next === undefined ? {} : { progress: { from: walk.next, accounts } }),
  });
  logger.info("tombstones checked", {
    found: walk.tombstones.length,
    freed,
    returned,
    complete: walk.next === undefined,
  });
  return { freed, returned };
});

async function walkLedger(progress: Progress | undefined, fleet: Fleet, hasTime: () => boolean) {
  const accounts = new Map<string, SlotAccount>();
  for (const { name } of fleet.cells) {
    const kept = progress?.accounts[name];
    const { counters } = await readCell(name); // read before the scan: a slot handed out during it is not lost
    accounts.set(name, kept ? unpack(kept) : newAccount({ raw: counters.raw.taken, tls: counters.tls.taken }));
  }
  const tombstones: FoundTombstone[] = [];
  let count = 0;
  for await (const { items, next } of scanLedger(progress?.from)) {
    for (const item of items) {
      tombstones.push(...tombstonesIn(item));
      note(item, accounts);
    }
    count += items.length;
    const isEnough = count >= auditLimits.itemsPerRunMax || !hasTime();
    if (next !== undefined && isEnough) return { tombstones, accounts, next };
  }
  return { tombstones, accounts, next: undefined };
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
    assertFree(tombstone.key.pk, tombstone.absentFrom, servedFrom);
    if ("claim" in what) return freeName({ ...tombstone, what }, Date.now());
    if (!(await freeSlot({ ...tombstone, what }, await readTenantRow(tenantId)))) return false;
    account.free.add(what.slot);
    account.owned.delete(what.slot);
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
  const read = readFrom(homeFirst(fleet));
  for (const tombstone of fresh) {
    const { tenantId: owner } = tombstone;
    const { routes } = await readTree(read, commit.routes[bucketOf(owner)]!, [digitsOf(owner)]);
    const isLive = routes.filter(({ tenantId }) => tenantId === owner).some(has(tombstone));
    if (!isLive && isConclusive(tombstone, commit.generation, lease !== undefined))
      await markTombstone(tombstone, "absentFrom", commit.generation);
    else if (tombstone.seenAt === undefined) await markTombstone(tombstone, "seenAt", commit.generation);
  }
}

/** Whether a route still serves the slot or claim. */
const has =
  ({ what }: FoundTombstone) =>
  (route: Route): boolean =>
    "claim" in what ? serves(route, what.claim) : route.slot === what.slot;

/**
 * Frees slots that are unaccounted for so long that every batch which may have reserved them is over, and withdraws free
 * slots that have a tenant after all.
 */
async function returnLost(cell: Cell, account: SlotAccount): Promise<number> {
  const { name } = cell;
  const scope = `slots of ${name}`;
  const { findings } = await readNote(scope);
  const lost = new Map<string, string | undefined>(findings.map(({ key }) => [key, undefined]));
  for (const [key, how] of lostSlots(cell, account)) lost.set(key, how);
  const { due, kept } = weigh(findings, lost, Date.now(), rolloutLimits.batchActiveMs);
  let returned = 0;
  for (const key of due) {
    const [kind, slot] = key.split(" ") as [SlotKind, string];
    if (!(await returnSlot(name, kind, Number(slot)))) continue;
    account.free.add(Number(slot));
    returned++;
  }
  await saveNote(scope, { findings: kept });
  for (const slot of ownedAndFree(account)) await withdrawSlot(name, kindOfSlot(slot), slot);
  for (const kind of slotKinds) await countFree(name, kind, countFreeOf(account, kind));
  return returned;
}
