/** A batch is one item of the ledger, 400 KB at most, which holds each tenant's id three times over. */
const tenantsMost = 500;
const idBytesMost = 40_000;

/** The ids in order, in batches that fit. */
export function chunksOf(tenantIds: string[]): string[][] {
  const chunks: string[][] = [];
  let bytes = 0;
  for (const tenantId of tenantIds.toSorted()) {
    const size = Buffer.byteLength(tenantId);
    const last = chunks.at(-1);
    if (last === undefined || last.length >= tenantsMost || bytes + size > idBytesMost) {
      chunks.push([tenantId]);
      bytes = size;
    } else {
      last.push(tenantId);
      bytes += size;
    }
  }
  return chunks;
}
