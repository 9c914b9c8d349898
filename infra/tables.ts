import { named } from "./names";

const twoKeys = {
  hashKey: "pk",
  rangeKey: "sk",
  attributes: [
    { name: "pk", type: "S" },
    { name: "sk", type: "S" },
  ],
};

/** Tenants belongs to the writers of tenant records, Reports to edges, Ledger and Rollouts only to the controller. */
export function tables() {
  const protect = { protect: $app.stage === "production" };
  const tenants = new aws.dynamodb.Table(
    "Tenants",
    {
      name: named("tenants"),
      billingMode: "PAY_PER_REQUEST",
      hashKey: "tenantId",
      attributes: [{ name: "tenantId", type: "S" }],
      streamEnabled: true,
      streamViewType: "NEW_AND_OLD_IMAGES",
      pointInTimeRecovery: { enabled: true },
      deletionProtectionEnabled: $app.stage === "production",
    },
    protect,
  );
  const ledger = new aws.dynamodb.Table(
    "Ledger",
    {
      name: named("ledger"),
      billingMode: "PAY_PER_REQUEST",
      ...twoKeys,
      ttl: { attributeName: "expires", enabled: true },
      pointInTimeRecovery: { enabled: true },
      deletionProtectionEnabled: $app.stage === "production",
    },
    protect,
  );
  // Each edge replaces its own item on every change and every 10 s: there is nothing to restore.
  const reports = new aws.dynamodb.Table("Reports", {
    name: named("reports"),
    billingMode: "PAY_PER_REQUEST",
    hashKey: "id",
    attributes: [{ name: "id", type: "S" }],
    streamEnabled: true,
    streamViewType: "NEW_IMAGE",
  });
  // Batches are kept for a day, for traces. In the ledger, each scan would read them.
  const rollouts = new aws.dynamodb.Table("Rollouts", {
    name: named("rollouts"),
    billingMode: "PAY_PER_REQUEST",
    ...twoKeys,
    ttl: { attributeName: "expires", enabled: true },
  });
  return { tenants, ledger, reports, rollouts };
}
