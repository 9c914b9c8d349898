import type { StageFleet } from "./fleet";
import type { Functions } from "./functions";
import { named, pascal } from "./names";
import { serviceRole } from "./workflows";

/** The home bus, and a rule in each region that forwards the edges' events from the default bus to it. */
export function buses(fleet: StageFleet) {
  const bus = new aws.cloudwatch.EventBus("Bus", { name: named("bus") });
  const role = serviceRole("Forwarding", "events", [{ actions: ["events:PutEvents"], resources: [bus.arn] }]);
  for (const region of fleet.regions) {
    const rule = new aws.cloudwatch.EventRule(`Forward${pascal(region)}`, {
      name: named("forward"),
      region,
      eventPattern: JSON.stringify({ source: ["landfall.edge"] }),
    });
    new aws.cloudwatch.EventTarget(`Forward${pascal(region)}Target`, {
      rule: rule.name,
      region,
      targetId: "home",
      arn: bus.arn,
      roleArn: role.arn,
    });
  }
  return { bus };
}

/** The rules of the home bus: reports start their function, health and readiness events start failover. */
export function subscriptions(
  bus: aws.cloudwatch.EventBus,
  fns: Functions,
  machines: { failover: aws.sfn.StateMachine },
  failures: aws.s3.Bucket,
) {
  const reports = new aws.cloudwatch.EventRule("EdgeReports", {
    name: named("edge-reports"),
    eventBusName: bus.name,
    eventPattern: JSON.stringify({ source: ["landfall.edge"], "detail-type": ["Edge Report"] }),
  });
  new aws.cloudwatch.EventTarget("EdgeReportsTarget", {
    rule: reports.name,
    eventBusName: bus.name,
    targetId: "function",
    arn: fns.recordEdgeReport.arn,
    retryPolicy: { maximumRetryAttempts: 8, maximumEventAgeInSeconds: 120 }, // of the delivery only
  });
  new aws.lambda.Permission("EdgeReportsPermission", {
    action: "lambda:InvokeFunction",
    function: fns.recordEdgeReport.name,
    principal: "events.amazonaws.com",
    sourceArn: reports.arn,
  });
  // The function's own errors: Lambda repeats it after one and two more minutes, unless the report is out of date by then.
  new aws.lambda.FunctionEventInvokeConfig("EdgeReportsInvoke", {
    functionName: fns.recordEdgeReport.name,
    maximumRetryAttempts: 2,
    maximumEventAgeInSeconds: 300,
    destinationConfig: { onFailure: { destination: failures.arn } },
  });
  new aws.iam.RolePolicy("EdgeReportsFailures", {
    role: fns.recordEdgeReport.nodes.role!.name,
    policy: aws.iam.getPolicyDocumentOutput({
      statements: [
        { actions: ["s3:PutObject"], resources: [$interpolate`${failures.arn}/*`] },
        { actions: ["s3:ListBucket"], resources: [failures.arn] },
      ],
    }).json,
  });
  const health = new aws.cloudwatch.EventRule("EdgeHealth", {
    name: named("edge-health"),
    eventBusName: bus.name,
    eventPattern: JSON.stringify({
      $or: [
        { source: ["landfall.edge"], "detail-type": ["Edge Health"] },
        { source: ["landfall.control"], "detail-type": ["Edge Readiness"] },
      ],
    }),
  });
  const role = serviceRole("EdgeHealthStart", "events", [
    { actions: ["states:StartExecution"], resources: [machines.failover.arn] },
  ]);
  new aws.cloudwatch.EventTarget("EdgeHealthTarget", {
    rule: health.name,
    eventBusName: bus.name,
    targetId: "failover",
    arn: machines.failover.arn,
    roleArn: role.arn,
  });
}
