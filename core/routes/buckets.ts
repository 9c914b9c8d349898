import { snapshotLimits } from "../../schemas/limits.ts";

const { bucketCount } = snapshotLimits;

/** The route bucket that holds a tenant's routes: FNV-1a of its id, so that similar names are spread. */
export function bucketOf(tenantId: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < tenantId.length; i++) hash = Math.imul(hash ^ tenantId.charCodeAt(i), 0x01000193) >>> 0;
  return hash % bucketCount;
}

export const everyBucket = Array.from({ length: bucketCount }, (_, bucket) => bucket);
