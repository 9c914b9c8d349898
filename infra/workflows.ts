import { readFileSync } from "node:fs";
import path from "node:path";
import { reportStreamLimits, scheduleMinutes, streamLimits } from "../schemas/limits";
import type { StageFleet } from "./fleet";
import type { Functions } from "./functions";
import { named } from "./names";

/** The future ARN of a machine: the machine and the functions that start it refer to each other. */
export const machineArn = (name: string, region: string, accountId: $util.Input<string>) =>
  $interpolate`arn:aws:states:${region}:${accountId}:stateMachine:${named(name)}`;

/** A role that `service` assumes, with one inline policy. */
export function serviceRole(
  logical: string,
  service: string,
  statements: aws.iam.GetPolicyDocumentOutputArgs["statements"],
) {
  const role = new aws.iam.Role(`${logical}Role`, {
    name: named(`${logical}`.toLowerCase()),
    assumeRolePolicy: JSON.stringify({
      Version: "2012-10-17",
      Statement: [{ Effect: "Allow", Action: "sts:AssumeRole", Principal: { Service: `${service}.amazonaws.com` } }],
    }),
  });
  const policy = aws.iam.getPolicyDocumentOutput({ statements }).json;
  new aws.iam.RolePolicy(`${logical}Policy`, { role: role.name, policy });
  return role;
}

/** State machines: the ASL of stepflows/ with its ${Placeholders} filled with function ARNs. */
export function workflows(fleet: StageFleet, fns: Functions, root: string) {
  const arns: Record<string, $util.Output<string>> = {
    AdmitTenants: fns.admitTenants.arn,
    PublishCell: fns.publishCell.arn,
    AwaitAcks: fns.awaitAcks.arn,
    SettleRollout: fns.settleRollout.arn,
    AdvanceStructure: fns.advanceStructure.arn,
    ForgetEdges: fns.forgetEdges.arn,
    FreeTombstones: fns.freeTombstones.arn,
    FindDrift: fns.findDrift.arn,
    SweepSnapshots: fns.sweepSnapshots.arn,
    ObserveAccelerator: fns.observeAccelerator.arn,
    ApplyAccelerator: fns.applyAccelerator.arn,
  };
  const machine = (logical: string, file: string) => {
    const text = readFileSync(path.join(root, `stepflows/${file}.asl.json`), "utf8");
    const used = [...new Set([...text.matchAll(/\$\{(\w+)\}/g)].map((match) => match[1]))].sort();
    const missing = used.filter((name) => !(name in arns));
    if (missing.length > 0)
      throw new Error(`stepflows/${file}.asl.json names ${missing.join(", ")}, which infra/ does not make`);
    const role = serviceRole(logical, "states", [
      { actions: ["lambda:InvokeFunction"], resources: used.map((name) => arns[name]) },
    ]);
    return new aws.sfn.StateMachine(logical, {
      name: named(file),
      roleArn: role.arn,
      definition: $resolve(Object.fromEntries(used.map((name) => [name, arns[name]]))).apply((known) =>
        text.replace(/\$\{(\w+)\}/g, (_, name: string) => known[name]),
      ),
    });
  };
  const rollout = machine("TenantRollout", "tenant-rollout");
  const failover = machine("Failover", "failover");
  const reconcile = machine("Reconcile", "reconcile");
  const audit = machine("Audit", "audit");
  const schedulerRole = serviceRole("ReconcileSchedule", "scheduler", [
    { actions: ["states:StartExecution"], resources: [reconcile.arn, audit.arn] },
    { actions: ["lambda:InvokeFunction"], resources: [fns.proveNames.arn] },
  ]);
  const every = (logical: string, name: string, minutes: number, arn: $util.Input<string>, input: object) =>
    new aws.scheduler.Schedule(logical, {
      name: named(name),
      scheduleExpression: `rate(${minutes} minutes)`,
      flexibleTimeWindow: { mode: "OFF" },
      target: { arn, roleArn: schedulerRole.arn, input: JSON.stringify(input) },
    });
  every("ReconcileEveryMinute", "reconcile", scheduleMinutes.reconcile, reconcile.arn, {
    cells: fleet.cells.map((cell) => cell.name),
  });
  every("ProofsEveryMinute", "proofs", scheduleMinutes.proofs, fns.proveNames.arn, {});
  every("AuditEveryFiveMinutes", "audit", scheduleMinutes.audit, audit.arn, {});
  return { rollout, failover, reconcile, audit };
}

/** Lets a function read a table's stream and write what fails for good to the failures bucket. */
function mayReadStream(logical: string, table: aws.dynamodb.Table, fn: sst.aws.Function, failures: aws.s3.Bucket) {
  new aws.iam.RolePolicy(logical, {
    role: fn.nodes.role!.name,
    policy: aws.iam.getPolicyDocumentOutput({
      statements: [
        {
          actions: ["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"],
          resources: [table.streamArn],
        },
        { actions: ["dynamodb:ListStreams"], resources: ["*"] }, // AWS knows no resource for it
        { actions: ["s3:PutObject"], resources: [$interpolate`${failures.arn}/*`] },
        { actions: ["s3:ListBucket"], resources: [failures.arn] },
      ],
    }).json,
  });
}

/** Connects the Tenants stream to its function: no waiting, bounded retries, and a bucket for failed records. */
export function tenantsStream(tenants: aws.dynamodb.Table, fn: Functions["startRollout"], failures: aws.s3.Bucket) {
  mayReadStream("StartRolloutStream", tenants, fn, failures);
  new aws.lambda.EventSourceMapping("TenantsStream", {
    eventSourceArn: tenants.streamArn,
    functionName: fn.arn,
    startingPosition: "TRIM_HORIZON",
    batchSize: streamLimits.batchRecordsMax,
    maximumBatchingWindowInSeconds: streamLimits.windowSeconds,
    functionResponseTypes: ["ReportBatchItemFailures"],
    bisectBatchOnFunctionError: true,
    maximumRetryAttempts: streamLimits.retriesMax,
    maximumRecordAgeInSeconds: streamLimits.recordAgeSeconds,
    parallelizationFactor: 1,
    destinationConfig: { onFailure: { destinationArn: failures.arn } },
  });
}

/**
 * Connects the Reports stream to its function, twice: reports with news at once, and the others, which say only that an
 * edge still runs, in larger batches.
 */
export function reportsStream(reports: aws.dynamodb.Table, fn: Functions["recordEdgeReport"], failures: aws.s3.Bucket) {
  mayReadStream("RecordEdgeReportStream", reports, fn, failures);
  const map = (logical: string, beat: boolean, windowSeconds: number) =>
    new aws.lambda.EventSourceMapping(logical, {
      eventSourceArn: reports.streamArn,
      functionName: fn.arn,
      startingPosition: "LATEST",
      batchSize: reportStreamLimits.batchRecordsMax,
      maximumBatchingWindowInSeconds: windowSeconds,
      filterCriteria: {
        filters: [{ pattern: JSON.stringify({ dynamodb: { NewImage: { beat: { BOOL: [beat] } } } }) }],
      },
      functionResponseTypes: ["ReportBatchItemFailures"],
      bisectBatchOnFunctionError: true,
      maximumRetryAttempts: reportStreamLimits.retriesMax,
      maximumRecordAgeInSeconds: reportStreamLimits.recordAgeSeconds,
      parallelizationFactor: 1,
      destinationConfig: { onFailure: { destinationArn: failures.arn } },
    });
  map("ReportsStream", false, 0);
  map("ReportsStreamBeats", true, reportStreamLimits.beatWindowSeconds);
}
