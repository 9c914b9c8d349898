/** A lease with an epoch: it allows one writer at a time, and the epoch reveals a late writer. */
import { UpdateCommand } from "@aws-sdk/lib-dynamodb";
import { documents, isConditionFailed } from "../documents.ts";
import { environment } from "../settings.ts";
import { keys } from "./keys.ts";

const TableName = environment.LANDFALL_LEDGER_TABLE;

export interface Lease {
  name: string;
  holder: string;
  epoch: number;
}

/** Takes a free, expired or own lease for `ms`; undefined while another holder has it. Each time starts a new epoch. */
export async function takeLease(name: string, holder: string, ms: number, now: number): Promise<Lease | undefined> {
  try {
    const { Attributes } = await documents.send(
      new UpdateCommand({
        TableName,
        Key: keys.lease(name),
        UpdateExpression: "SET holder = :holder, expiresAt = :until ADD epoch :one",
        ConditionExpression: "attribute_not_exists(pk) OR expiresAt <= :now OR holder = :holder",
        ExpressionAttributeValues: { ":holder": holder, ":until": now + ms, ":now": now, ":one": 1 },
        ReturnValues: "UPDATED_NEW",
      }),
    );
    return { name, holder, epoch: Attributes?.epoch as number };
  } catch (error) {
    // A lease that is part of a transaction at this moment counts as held, too.
    if (isConditionFailed(error) || (error as Error).name === "TransactionConflictException") return undefined;
    throw error;
  }
}

/** The check, within a transaction, that nobody else took the lease. */
export const isHeld = ({ name, epoch }: Lease) => ({
  TableName,
  Key: keys.lease(name),
  ConditionExpression: "epoch = :epoch",
  ExpressionAttributeValues: { ":epoch": epoch },
});

/** Extends the lease; false if it is lost. Called right before a write that can't check the epoch itself. */
export async function holdLease(lease: Lease, ms: number, now: number): Promise<boolean> {
  return writeExpiry(lease, now + ms);
}

export async function releaseLease(lease: Lease): Promise<void> {
  await writeExpiry(lease, 0);
}

async function writeExpiry(lease: Lease, expiresAt: number): Promise<boolean> {
  try {
    await documents.send(
      new UpdateCommand({
        TableName,
        Key: keys.lease(lease.name),
        UpdateExpression: "SET expiresAt = :until",
        ConditionExpression: "epoch = :epoch",
        ExpressionAttributeValues: { ":until": expiresAt, ":epoch": lease.epoch },
      }),
    );
    return true;
  } catch (error) {
    if (isConditionFailed(error)) return false;
    throw error;
  }
}
