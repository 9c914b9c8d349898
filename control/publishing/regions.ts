import type { Bucket } from "../../aws/snapshots.ts";
import type { Fleet } from "../../schemas/fleet.ts";

/** Every region's snapshot bucket, in order. */
export const bucketsOf = (fleet: Fleet): Bucket[] =>
  Object.entries(fleet.buckets)
    .map(([region, name]) => ({ region, name }))
    .sort((a, b) => (a.region < b.region ? -1 : 1));

/** All buckets, the home region's first: for reading the objects that a commit names. */
export const homeFirst = (fleet: Fleet): Bucket[] =>
  bucketsOf(fleet).sort((a, b) => Number(b.region === fleet.homeRegion) - Number(a.region === fleet.homeRegion));

export const homeOf = ({ homeRegion }: Fleet, buckets: Bucket[]): Bucket =>
  buckets.find(({ region }) => region === homeRegion)!;
