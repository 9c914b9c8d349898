import type { Bucket } from "../../aws/snapshots.ts";
import type { Fleet } from "../../schemas/fleet.ts";

/** Every region's snapshot bucket, in order. */
export const bucketsOf = (fleet: Fleet): Bucket[] =>
  Object.entries(fleet.buckets)
    .map(([region, name]) => ({ region, name }))
    .sort((a, b) => (a.region < b.region ? -1 : 1));

export const homeOf = ({ homeRegion }: Fleet, buckets: Bucket[]): Bucket =>
  buckets.find(({ region }) => region === homeRegion)!;
