import { snapshotLimits } from "../../schemas/limits.ts";

const { bucketCount, digits } = snapshotLimits;
const bucketBits = Math.log2(bucketCount);

/** FNV-1a of a tenant's id, so that similar names are spread. */
function hashOf(tenantId: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < tenantId.length; i++) hash = Math.imul(hash ^ tenantId.charCodeAt(i), 0x01000193) >>> 0;
  return hash;
}

/** The route bucket that holds a tenant's routes. */
export const bucketOf = (tenantId: string): number => hashOf(tenantId) % bucketCount;

/** The way to a tenant's leaf in the tree of its bucket: one hexadecimal digit for each branch. */
export const digitsOf = (tenantId: string): string =>
  [...(hashOf(tenantId) >>> bucketBits).toString(16).padStart(digits, "0")].reverse().slice(0, digits).join("");

export const everyBucket = Array.from({ length: bucketCount }, (_, bucket) => bucket);
