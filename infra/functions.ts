import { defaultFunctionSeconds, functionSeconds } from "../schemas/limits";
import { named } from "./names";

interface Parts {
  tenants: aws.dynamodb.Table;
  ledger: aws.dynamodb.Table;
  reports: aws.dynamodb.Table;
  rollouts: aws.dynamodb.Table;
  bus: aws.cloudwatch.EventBus;
  key: aws.kms.Key;
  snapshots: Record<string, aws.s3.Bucket>;
  rolloutMachineArn: $util.Input<string>;
  listeners: Record<string, aws.globalaccelerator.Listener>;
}

interface Options {
  permissions: {
    actions: string[];
    resources: $util.Input<string>[];
    conditions?: { test: string; variable: string; values: string[] }[];
  }[];
  environment?: Record<string, $util.Input<string>>;
}

/** Every function with exactly the rights it uses; `link` would grant whole services. */
export function functions({
  tenants,
  ledger,
  reports,
  rollouts,
  bus,
  key,
  snapshots,
  rolloutMachineArn,
  listeners,
}: Parts) {
  const environment = {
    LANDFALL_STAGE: $app.stage,
    LANDFALL_TENANTS_TABLE: tenants.name,
    LANDFALL_LEDGER_TABLE: ledger.name,
    LANDFALL_REPORTS_TABLE: reports.name,
    LANDFALL_ROLLOUTS_TABLE: rollouts.name,
    LANDFALL_BUS: bus.name,
    LANDFALL_SIGNING_KEY: key.arn,
  };
  const make = (logical: string, file: string, { permissions, environment: own }: Options) =>
    new sst.aws.Function(logical, {
      name: named(file),
      handler: `functions/${file}.handler`,
      runtime: "nodejs24.x" as never, // this SST version does not know the name
      architecture: "arm64",
      memory: "512 MB",
      timeout: `${functionSeconds[file] ?? defaultFunctionSeconds} seconds`,
      environment: { ...environment, ...own },
      permissions,
      logging: { retention: "1 month" },
    });

  const readSettings = {
    actions: ["ssm:GetParameters", "ssm:GetParameterHistory"],
    resources: [`arn:aws:ssm:*:*:parameter/landfall/${$app.stage}/*`],
  };
  const readTenants = { actions: ["dynamodb:BatchGetItem"], resources: [tenants.arn] };
  const startRollouts = { actions: ["states:StartExecution"], resources: [rolloutMachineArn] };
  const on =
    (table: aws.dynamodb.Table) =>
    (...actions: string[]) => ({ actions: actions.map((action) => `dynamodb:${action}`), resources: [table.arn] });
  const [onLedger, onRollouts] = [on(ledger), on(rollouts)];
  const auditLedger = onLedger(
    "Scan",
    "Query",
    "GetItem",
    "BatchGetItem",
    "PutItem",
    "UpdateItem",
    "DeleteItem",
    "ConditionCheckItem",
  );
  const describeInstances = { actions: ["ec2:DescribeInstances"], resources: ["*"] }; // AWS knows no resource for it
  const putEvents = { actions: ["events:PutEvents"], resources: [bus.arn] };
  const complete = { actions: ["states:SendTaskSuccess"], resources: ["*"] };
  const objects = Object.values(snapshots);
  const onObjects = (...actions: string[]) => ({
    actions: actions.map((action) => `s3:${action}`),
    resources: objects.map((bucket) => $interpolate`${bucket.arn}/*`),
  });
  // Without it, S3 returns 403 for a missing object, and a missing first manifest would look like a denied request.
  const listObjects = { actions: ["s3:ListBucket"], resources: objects.map((bucket) => bucket.arn) };
  const listenerArns = Object.values(listeners).map(({ arn }) => arn);
  const acceleratorArns = listenerArns.map((arn) => arn.apply((text) => text.replace(/\/listener\/.*$/, "")));
  const readGroups = { actions: ["globalaccelerator:ListEndpointGroups"], resources: listenerArns };
  const readAccelerator = [
    {
      actions: ["globalaccelerator:ListEndpointGroups", "globalaccelerator:DescribeListener"],
      resources: listenerArns,
    },
    { actions: ["globalaccelerator:DescribeAccelerator"], resources: acceleratorArns },
  ];

  return {
    startRollout: make("StartRollout", "start-rollout", {
      environment: { LANDFALL_ROLLOUT_MACHINE: rolloutMachineArn },
      permissions: [onRollouts("UpdateItem", "DeleteItem"), startRollouts],
    }),
    admitTenants: make("AdmitTenants", "admit-tenants", {
      permissions: [
        readSettings,
        readTenants,
        onRollouts("BatchGetItem", "UpdateItem", "DeleteItem", "ConditionCheckItem"),
        onLedger("GetItem", "BatchGetItem", "Query", "PutItem", "UpdateItem", "DeleteItem", "ConditionCheckItem"),
      ],
    }),
    publishCell: make("PublishCell", "publish-cell", {
      permissions: [
        readSettings,
        onLedger("GetItem", "BatchGetItem", "Query", "PutItem", "UpdateItem", "DeleteItem", "ConditionCheckItem"),
        complete,
        onRollouts("BatchGetItem", "PutItem"),
        onObjects("GetObject", "PutObject"),
        listObjects,
        { actions: ["kms:Sign", "kms:GetPublicKey"], resources: [key.arn] },
      ],
    }),
    awaitAcks: make("AwaitAcks", "await-acks", {
      permissions: [
        onLedger("GetItem", "BatchGetItem", "Query", "PutItem", "DeleteItem"),
        onRollouts("BatchGetItem"),
        complete,
      ],
    }),
    settleRollout: make("SettleRollout", "settle-rollout", {
      permissions: [
        onLedger("GetItem", "Query", "BatchGetItem", "BatchWriteItem", "PutItem", "UpdateItem", "DeleteItem"),
        onRollouts("GetItem", "BatchGetItem", "UpdateItem"),
        putEvents,
      ],
    }),
    recordEdgeReport: make("RecordEdgeReport", "record-edge-report", {
      permissions: [
        readSettings,
        onLedger("GetItem", "Query", "BatchGetItem", "PutItem", "UpdateItem", "DeleteItem"),
        onRollouts("BatchGetItem"),
        describeInstances,
        complete,
        putEvents,
      ],
    }),
    advanceStructure: make("AdvanceStructure", "advance-structure", {
      permissions: [readSettings, onLedger("Query", "GetItem", "BatchGetItem", "PutItem"), putEvents],
    }),
    forgetEdges: make("ForgetEdges", "forget-edges", {
      permissions: [
        readSettings,
        onLedger("GetItem", "BatchGetItem", "UpdateItem", "DeleteItem"),
        { actions: ["dynamodb:DeleteItem"], resources: [reports.arn] },
        readGroups,
        describeInstances,
        {
          actions: ["ec2:TerminateInstances"],
          resources: ["arn:aws:ec2:*:*:instance/*"],
          conditions: [{ test: "StringEquals", variable: "aws:ResourceTag/landfall:stage", values: [$app.stage] }],
        },
      ],
    }),
    freeTombstones: make("FreeTombstones", "free-tombstones", {
      permissions: [
        readSettings,
        auditLedger,
        onObjects("GetObject"),
        listObjects,
        { actions: ["kms:GetPublicKey"], resources: [key.arn] },
      ],
    }),
    findDrift: make("FindDrift", "find-drift", {
      environment: { LANDFALL_ROLLOUT_MACHINE: rolloutMachineArn },
      permissions: [
        readSettings,
        { actions: ["dynamodb:Scan", "dynamodb:BatchGetItem"], resources: [tenants.arn] },
        auditLedger,
        onRollouts("UpdateItem"),
        onObjects("GetObject"),
        listObjects,
        startRollouts,
      ],
    }),
    proveNames: make("ProveNames", "prove-names", {
      environment: { LANDFALL_ROLLOUT_MACHINE: rolloutMachineArn },
      permissions: [
        readSettings,
        readTenants,
        onLedger("Query", "PutItem", "UpdateItem"),
        onRollouts("UpdateItem"),
        startRollouts,
      ],
    }),
    sweepSnapshots: make("SweepSnapshots", "sweep-snapshots", {
      permissions: [
        readSettings,
        onLedger("Query", "PutItem", "UpdateItem"),
        onObjects("GetObject", "PutObject", "DeleteObject"),
        listObjects,
        { actions: ["kms:GetPublicKey"], resources: [key.arn] },
      ],
    }),
    observeAccelerator: make("ObserveAccelerator", "observe-accelerator", {
      permissions: [readSettings, onLedger("GetItem", "BatchGetItem", "Query", "UpdateItem"), ...readAccelerator],
    }),
    applyAccelerator: make("ApplyAccelerator", "apply-accelerator", {
      permissions: [
        readSettings,
        onLedger("GetItem", "BatchGetItem", "Query", "PutItem", "UpdateItem"),
        ...readAccelerator,
        {
          actions: ["globalaccelerator:CreateEndpointGroup", "globalaccelerator:UpdateListener"],
          resources: listenerArns,
        },
        { actions: ["globalaccelerator:UpdateAccelerator"], resources: acceleratorArns },
        {
          actions: ["globalaccelerator:UpdateEndpointGroup"],
          resources: listenerArns.map((arn) => $interpolate`${arn}/endpoint-group/*`),
        },
        // Adding an EC2 endpoint makes the service look the instance up on the caller's behalf.
        { actions: ["ec2:DescribeInstances", "ec2:DescribeSubnets", "ec2:DescribeRegions"], resources: ["*"] },
      ],
    }),
  };
}
export type Functions = ReturnType<typeof functions>;
