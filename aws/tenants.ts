/** The Tenants table. It belongs to the writers of tenant records: Landfall only reads it. */
import { paginateScan } from "@aws-sdk/lib-dynamodb";
import { batchGet, documents } from "./documents.ts";
import { environment } from "./settings.ts";

const TableName = environment.LANDFALL_TENANTS_TABLE;

/** The current records by id, unparsed. Tenants without a record are absent. */
export async function readRecords(tenantIds: string[]): Promise<Map<string, unknown>> {
  const items = await batchGet<{ tenantId: string }>(
    TableName,
    tenantIds.map((tenantId) => ({ tenantId })),
  );
  return new Map(items.map((item) => [item.tenantId, item]));
}
export const readRecord = async (tenantId: string) => (await readRecords([tenantId])).get(tenantId);

/** Every record, page by page, in no order. Concurrent writes may be included or not. */
export async function* scanRecords(): AsyncGenerator<{ tenantId: string }[]> {
  for await (const { Items = [] } of paginateScan({ client: documents }, { TableName }))
    yield Items as { tenantId: string }[];
}
