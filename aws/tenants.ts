/** The Tenants table. It belongs to those who write tenant records: Landfall only reads it. */
import { paginateScan } from "@aws-sdk/lib-dynamodb";
import { batchGet, documents } from "./documents.ts";
import { environment } from "./settings.ts";

const TableName = environment.LANDFALL_TENANTS_TABLE;

/** Records as they stand now, unparsed, by id; who has none is absent. */
export async function readRecords(tenantIds: string[]): Promise<Map<string, unknown>> {
  const items = await batchGet<{ tenantId: string }>(
    TableName,
    tenantIds.map((tenantId) => ({ tenantId })),
  );
  return new Map(items.map((item) => [item.tenantId, item]));
}
export const readRecord = async (tenantId: string) => (await readRecords([tenantId])).get(tenantId);

/** Every record, page by page, in no order; what is written meanwhile may be in it or not. */
export async function* scanRecords(): AsyncGenerator<{ tenantId: string }[]> {
  for await (const { Items = [] } of paginateScan({ client: documents }, { TableName }))
    yield Items as { tenantId: string }[];
}
