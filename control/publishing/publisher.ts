/** The state of one publisher of a cell while it holds the lease. */
import type { CopyFailure } from "../../aws/ledger/cells.ts";
import { holdLease, type Lease } from "../../aws/ledger/leases.ts";
import { inParallel } from "../../aws/parallel.ts";
import type { Settings } from "../../aws/settings.ts";
import { type Bucket, putObject, type StoredManifest } from "../../aws/snapshots.ts";
import { LeaseHeldError } from "../../core/errors.ts";
import { publishLimits } from "../../schemas/limits.ts";
import type { SignedManifest } from "../../schemas/snapshot.ts";
import { bucketsOf, homeFirst, homeOf } from "./regions.ts";
import { type ReadObject, readFrom } from "./trees.ts";

export interface Publisher {
  cell: string;
  settings: Settings;
  /** Every region's bucket, in order; and the home region's. */
  buckets: Bucket[];
  home: Bucket;
  lease: Lease;
  /** When the lease was taken or extended last, milliseconds since 1970. */
  heldAt: number;
  /** Reads an object from the home region, or from the next that has it. */
  read: ReadObject;
  /** Objects that are being put into each region. Only that region's manifest waits for them. */
  placing: Map<Bucket, Promise<unknown>[]>;
  /** Each region's manifest as it was read or written last. A region that was not read is absent. */
  stored: Map<Bucket, StoredManifest | undefined>;
  /** Signed manifests by generation: every region gets the same bytes. */
  signed: Map<number, Promise<SignedManifest>>;
}

export function newPublisher(cell: string, settings: Settings, lease: Lease, now: number): Publisher {
  const buckets = bucketsOf(settings.fleet);
  const home = homeOf(settings.fleet, buckets);
  const read = readFrom(homeFirst(settings.fleet));
  const empty = { placing: new Map(), stored: new Map(), signed: new Map() };
  return { cell, settings, buckets, home, lease, heldAt: now, read, ...empty };
}

const { leaseMs } = publishLimits;

/**
 * Extends the lease if a third of it has passed. To call after each step before a commit: a publisher keeps its lease as long as
 * it gets on, and one that hangs loses it.
 * @throws LeaseHeldError when another publisher has taken it
 */
export async function keepLease(publisher: Publisher, everyMs = leaseMs / 3): Promise<void> {
  const now = Date.now();
  if (now - publisher.heldAt < everyMs) return;
  publisher.heldAt = now; // steps run side by side: one of them extends it
  if (!(await holdLease(publisher.lease, leaseMs, now)))
    throw new LeaseHeldError(`lost the publisher's lease of ${publisher.cell}`);
}

/** Failing regions are copied to only after the drain: a bucket that hangs takes seconds to fail. */
export const isFailing = (region: string, known: CopyFailure[]) => known.some((noted) => noted.region === region);

/** Starts to put objects into a region. A put that fails is done again before the region's manifest is written. */
export function place({ placing }: Publisher, target: Bucket, objects: { hash: string; text: string }[]): void {
  const put = inParallel(objects, ({ hash, text }) => putObject(target, hash, text).catch(() => {}));
  placing.set(target, [...(placing.get(target) ?? []), put]);
}
