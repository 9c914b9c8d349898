import type { StageFleet } from "./fleet";
import type { Functions } from "./functions";
import { named, pascal } from "./names";
import { serviceRole } from "./workflows";

/** The home bus: health events from people and monitors, and what the controller says. Edges put nothing on it. */
export function homeBus() {
  return new aws.cloudwatch.EventBus("Bus", { name: named("bus") });
}

/** Only these put events with these sources, even if their own policies allow others in the account to put events. */
export function whoSpeaks(
  bus: aws.cloudwatch.EventBus,
  fleet: StageFleet,
  fns: Functions,
  accountId: $util.Input<string>,
) {
  const allow = (source: string, principals: $util.Input<string>[]) => ({
    effect: "Deny",
    principals: [{ type: "*", identifiers: ["*"] }],
    actions: ["events:PutEvents"],
    resources: [bus.arn],
    conditions: [
      { test: "ForAnyValue:StringEquals", variable: "events:source", values: [source] },
      { test: "ArnNotLike", variable: "aws:PrincipalArn", values: principals },
    ],
  });
  const speakers = [fns.settleRollout, fns.recordEdgeReport, fns.advanceStructure];
  const policy = aws.iam.getPolicyDocumentOutput({
    statements: [
      allow(
        "landfall.health",
        fleet.healthRoles.map((role) => $interpolate`arn:aws:iam::${accountId}:role/${role}`),
      ),
      allow(
        "landfall.control",
        speakers.map((fn) => fn.nodes.role!.arn),
      ),
    ],
  }).json;
  new aws.cloudwatch.EventBusPolicy("BusPolicy", { eventBusName: bus.name, policy });
}

/** What EC2 says of an instance. It says so on its region's default bus, of every instance of the account. */
const instanceEvents = {
  source: ["aws.ec2"],
  "detail-type": ["EC2 Instance State-change Notification", "EC2 Spot Instance Interruption Warning"],
};

/** Each region's default bus sends the home bus what EC2 says of instances there. */
export function forwarding(fleet: StageFleet, bus: aws.cloudwatch.EventBus) {
  const role = serviceRole("InstanceEvents", "events", [{ actions: ["events:PutEvents"], resources: [bus.arn] }]);
  for (const region of fleet.regions) {
    const rule = new aws.cloudwatch.EventRule(`InstanceEvents${pascal(region)}`, {
      name: named("instance-events"),
      region,
      eventPattern: JSON.stringify(instanceEvents),
    });
    new aws.cloudwatch.EventTarget(`InstanceEvents${pascal(region)}Target`, {
      rule: rule.name,
      region,
      targetId: "home",
      arn: bus.arn,
      roleArn: role.arn,
    });
  }
}

/** The rule of the home bus: health and readiness events, and what EC2 says of instances, start failover. */
export function subscriptions(bus: aws.cloudwatch.EventBus, machines: { failover: aws.sfn.StateMachine }) {
  const health = new aws.cloudwatch.EventRule("EdgeHealth", {
    name: named("edge-health"),
    eventBusName: bus.name,
    eventPattern: JSON.stringify({
      $or: [
        { source: ["landfall.health"], "detail-type": ["Edge Health"] },
        { source: ["landfall.control"], "detail-type": ["Edge Readiness"] },
        instanceEvents,
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
