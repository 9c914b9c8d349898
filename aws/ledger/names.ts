/** Reads and writes the ledger's points. */
import type { TransactWriteCommandInput } from "@aws-sdk/lib-dynamodb";
import type { AdmissionPlan } from "../../core/admission/admit.ts";
import { partsOf, pointOf } from "../../core/names/claims.ts";
import type { Hold, Point } from "../../core/names/points.ts";
import { tenantLimits } from "../../schemas/limits.ts";
import { batchGet } from "../documents.ts";
import { environment } from "../settings.ts";
import { keys } from "./keys.ts";
import { holdName, pointIn } from "./points.ts";

const TableName = environment.LANDFALL_LEDGER_TABLE;
type Write = NonNullable<TransactWriteCommandInput["TransactItems"]>[number];

/** Points by name. Names that nobody holds are absent. */
export async function readPoints(points: string[]): Promise<Map<string, Point>> {
  const items = await batchGet<Record<string, unknown>>(TableName, [...new Set(points)].map(keys.name));
  return new Map(items.flatMap((item) => pointIn(item) ?? []).map((point) => [point.point, point]));
}

/**
 * One write for each point of the plan's claims. A name or wildcard is taken only from a point that is as it is `known`, or
 * that is not there. What lies below a point is taken by several tenants side by side, so long as nobody else has the point.
 */
export function pointWrites(
  { row, owner, claim, release }: AdmissionPlan,
  known: Map<string, Point>,
  now: number,
): { write: Write; claims: string[]; point: string }[] {
  const { tenantId, cell } = row;
  const stamp = `${tenantId} ${row.version} ${now}`;
  const claims = Map.groupBy([...claim, ...release], pointOf);
  return [...claims].map(([point, list]) => {
    const write = new PointWrite(tenantId, owner);
    for (const one of list)
      if (claim.includes(one)) write.take(one, { tenantId, owner, cell, since: now }, known.get(point));
      else write.release(one, now, cell);
    return { point, claims: list.filter((one) => claim.includes(one)), write: write.build(point, stamp) };
  });
}

/** Collects the expressions of one update. */
class PointWrite {
  readonly #tenantId: string;
  readonly #owner: string;
  readonly #sets = ["stamp = :stamp"];
  #adds = "";
  readonly #conditions = new Set<string>();
  readonly #names: Record<string, string> = {};
  readonly #values: Record<string, unknown> = {};

  constructor(tenantId: string, owner: string) {
    this.#tenantId = tenantId;
    this.#owner = owner;
  }

  take(claim: string, hold: Hold, known: Point | undefined): void {
    const path = this.#path(claim);
    this.#sets.push(`${path} = :hold`);
    this.#values[":hold"] = hold;
    if (partsOf(claim).kind !== "below") {
      this.#conditions.add(known === undefined ? "attribute_not_exists(pk)" : "stamp = :known");
      if (known !== undefined) this.#values[":known"] = known.stamp;
      return;
    }
    for (const kind of ["name", "wildcard"]) {
      this.#names[`#${kind}`] = kind;
      this.#conditions.add(
        `(attribute_not_exists(#${kind}) OR #${kind}.#owner = :owner OR #${kind}.tenantId = :tenant)`,
      );
    }
    this.#conditions.add("(attribute_not_exists(#grant) OR #grant.tenantId = :tenant)");
    this.#conditions.add("(attribute_not_exists(tenants) OR contains(tenants, :tenant) OR size(tenants) < :most)");
    this.#adds = " ADD tenants :tenants";
    this.#values[":most"] = tenantLimits.tenantsBelowMax;
    this.#values[":tenants"] = new Set([this.#tenantId]);
    this.#names["#grant"] = "grant";
    this.#names["#owner"] = "owner";
    this.#values[":owner"] = this.#owner;
    this.#values[":tenant"] = this.#tenantId;
  }

  release(claim: string, now: number, cell: string): void {
    const path = this.#path(claim);
    this.#sets.push(`${path}.releasedAt = :now`, `${path}.cell = :cell`);
    this.#conditions.add(`${path}.tenantId = :tenant`);
    Object.assign(this.#values, { ":now": now, ":cell": cell, ":tenant": this.#tenantId });
  }

  #path(claim: string): string {
    const path = `#${partsOf(claim).kind}`;
    this.#names[path] = holdName(claim, this.#tenantId);
    return path;
  }

  build(point: string, stamp: string): Write {
    return {
      Update: {
        TableName,
        Key: keys.name(point),
        UpdateExpression: `SET ${this.#sets.join(", ")}${this.#adds}`,
        ConditionExpression: [...this.#conditions].join(" AND "),
        ExpressionAttributeNames: this.#names,
        ExpressionAttributeValues: { ...this.#values, ":stamp": stamp },
      },
    };
  }
}
