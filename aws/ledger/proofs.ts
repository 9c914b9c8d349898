/** Proofs that names are their tenants' own: which are awaited, and which were found. */
import { PutCommand, QueryCommand, UpdateCommand } from "@aws-sdk/lib-dynamodb";
import { proofLimits } from "../../schemas/limits.ts";
import { batchGet, documents, isConditionFailed } from "../documents.ts";
import { environment } from "../settings.ts";
import { keys } from "./keys.ts";

const TableName = environment.LANDFALL_LEDGER_TABLE;

/** A tenant whose record waits for proofs. Times in milliseconds since 1970. */
export interface Awaited {
  tenantId: string;
  names: string[];
  /** Looks in vain so far, and when the next one is due. */
  looks: number;
  nextAt: number;
}

/** The tenants whose next look is due, those first that wait longest. */
export async function readDue(now: number): Promise<Awaited[]> {
  const found: Awaited[] = [];
  let from: Record<string, unknown> | undefined;
  do {
    const { Items = [], LastEvaluatedKey } = await documents.send(
      new QueryCommand({
        TableName,
        KeyConditionExpression: "pk = :pk",
        FilterExpression: "nextAt <= :now",
        ExpressionAttributeValues: { ":pk": keys.unproven, ":now": now },
        ...(from === undefined ? {} : { ExclusiveStartKey: from }),
      }),
    );
    found.push(...(Items as (Awaited & { pk: string })[]).map(({ pk: _, ...awaited }) => awaited));
    from = LastEvaluatedKey;
  } while (from !== undefined);
  return found.sort((a, b) => a.nextAt - b.nextAt).slice(0, proofLimits.tenantsPerRunMax);
}

/** Notes a look in vain, unless the tenant's record changed meanwhile. */
export async function saveLook({ tenantId, looks, nextAt }: Awaited, next: Pick<Awaited, "looks" | "nextAt">) {
  try {
    await documents.send(
      new UpdateCommand({
        TableName,
        Key: keys.unprovenTenant(tenantId),
        UpdateExpression: "SET looks = :next, nextAt = :nextAt",
        ConditionExpression: "looks = :looks AND nextAt = :before",
        ExpressionAttributeValues: {
          ":next": next.looks,
          ":nextAt": next.nextAt,
          ":looks": looks,
          ":before": nextAt,
        },
      }),
    );
  } catch (error) {
    if (!isConditionFailed(error)) throw error;
  }
}

/** Keeps a proof for a week: admission uses it within seconds, unless the name is somebody's. */
export async function saveProof(owner: string, name: string, now: number): Promise<void> {
  const expires = Math.floor(now / 1000) + proofLimits.keepSeconds;
  await documents.send(new PutCommand({ TableName, Item: { ...keys.proof(owner, name), at: now, expires } }));
}

/** Those of the names that were shown to be their owner's, and not too long ago. */
export async function readProofs(wanted: { owner: string; name: string }[], now: number): Promise<Set<string>> {
  const all = new Map(wanted.map(({ owner, name }) => [proofId(owner, name), keys.proof(owner, name)])); // once each
  const items = await batchGet<{ pk: string; sk: string; expires: number }>(TableName, [...all.values()]);
  const valid = items.filter(({ expires }) => expires * 1000 > now).map(({ pk, sk }) => `${pk} ${sk}`);
  return new Set([...all].flatMap(([id, { pk, sk }]) => (valid.includes(`${pk} ${sk}`) ? [id] : [])));
}

export const proofId = (owner: string, name: string) => `${owner} ${name}`;
