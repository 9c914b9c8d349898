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

/** Ids behind `from`, page by page, in no order, each with the key to go on from. Concurrent writes may be missing. */
export async function* scanTenantIds(from?: object): AsyncGenerator<{ tenantIds: string[]; next: object | undefined }> {
  const pages = paginateScan(
    { client: documents, ...(from === undefined ? {} : { startingToken: from }) },
    { TableName, ProjectionExpression: "tenantId" },
  );
  for await (const { Items = [], LastEvaluatedKey } of pages)
    yield { tenantIds: Items.map(({ tenantId }) => String(tenantId)), next: LastEvaluatedKey };
}
