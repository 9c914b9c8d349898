/** The state of one publisher of a cell while it holds the lease. */
import type { CopyFailure } from "../../aws/ledger/cells.ts";
import type { Lease } from "../../aws/ledger/leases.ts";
import type { Settings } from "../../aws/settings.ts";
import { type Bucket, putObject, type StoredManifest } from "../../aws/snapshots.ts";
import type { SignedManifest } from "../../schemas/snapshot.ts";
import { bucketsOf, homeOf } from "./regions.ts";

export interface Publisher {
  cell: string;
  settings: Settings;
  /** Every region's bucket, in order; and the home region's. */
  buckets: Bucket[];
  home: Bucket;
  lease: Lease;
  /** Objects that are being put into each region. Only that region's manifest waits for them. */
  placing: Map<Bucket, Promise<unknown>[]>;
  /** Each region's manifest as it was read or written last. A region that was not read is absent. */
  stored: Map<Bucket, StoredManifest | undefined>;
  /** Signed manifests by generation: every region gets the same bytes. */
  signed: Map<number, Promise<SignedManifest>>;
}

export function newPublisher(cell: string, settings: Settings, lease: Lease): Publisher {
  const buckets = bucketsOf(settings.fleet);
  const home = homeOf(settings.fleet, buckets);
  return { cell, settings, buckets, home, lease, placing: new Map(), stored: new Map(), signed: new Map() };
}

/** Failing regions are copied to only after the drain: a bucket that hangs takes seconds to fail. */
export const isFailing = (region: string, known: CopyFailure[]) => known.some((noted) => noted.region === region);

/** Starts to put an object into a region. A put that fails is done again before the region's manifest is written. */
export function place({ placing }: Publisher, target: Bucket, hash: string, text: string): void {
  const put = putObject(target, hash, text).catch(() => {});
  placing.set(target, [...(placing.get(target) ?? []), put]);
}
