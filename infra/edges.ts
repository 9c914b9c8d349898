import { readFileSync } from "node:fs";
import path from "node:path";
import { edgeSettings, userData } from "../edge/user-data";
import { localStage, type StageFleet } from "./fleet";
import { named, pascal } from "./names";
import { serviceRole } from "./workflows";

/** One Auto Scaling group of edges per cell and region. */
export function edges(
  fleet: StageFleet,
  parts: {
    root: string;
    snapshots: Record<string, aws.s3.Bucket>;
    reports: aws.dynamodb.Table;
    publicKeys: $util.Input<Record<string, string>>;
  },
) {
  const { root, snapshots, reports, publicKeys } = parts;
  const read = (name: string) => readFileSync(path.join(root, "edge", name), "utf8");
  const units = {
    "landfall-agent.service": read("landfall-agent.service"),
    "landfall-nginx.service": read("landfall-nginx.service"),
    "landfall-nginx.path": read("landfall-nginx.path"),
  };
  for (const cell of fleet.cells)
    for (const region of cell.regions) {
      const logical = `Edge-${cell.name}-${pascal(region)}`;
      const bucket = snapshots[region];
      const role = serviceRole(logical, "ec2", [
        { actions: ["s3:GetObject"], resources: [$interpolate`${bucket.arn}/*`] },
        { actions: ["s3:ListBucket"], resources: [bucket.arn] },
        {
          // The caller's own item only: the key is `<role id>:<instance id>`, and EC2 names the session by the instance.
          actions: ["dynamodb:PutItem"],
          resources: [reports.arn],
          conditions: [
            { test: "ForAllValues:StringEquals", variable: "dynamodb:LeadingKeys", values: ["${aws:userid}"] },
          ],
        },
      ]);
      const profile = new aws.iam.InstanceProfile(`${logical}Profile`, {
        name: named(logical.toLowerCase()),
        role: role.name,
      });
      const settings = $resolve({
        bucket: bucket.bucket,
        table: reports.name,
        roleId: role.uniqueId,
        publicKeys,
      }).apply(({ bucket, table, roleId, publicKeys }) => {
        const reports = { table, region: fleet.homeRegion, roleId };
        return edgeSettings({ cell: cell.name, region, bucket, reports, publicKeys });
      });
      const network = networkOf(region, logical, cell, fleet);
      const template = new aws.ec2.LaunchTemplate(`${logical}Template`, {
        name: named(logical.toLowerCase()),
        region,
        imageId: aws.ssm.getParameterOutput({
          name: "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64",
          region,
        }).value,
        instanceType: fleet.instanceType,
        iamInstanceProfile: { arn: profile.arn },
        metadataOptions: { httpTokens: "required", httpEndpoint: "enabled" },
        vpcSecurityGroupIds: [network.securityGroupId],
        userData: settings.apply((known) => Buffer.from(userData(known, units)).toString("base64")),
      });
      new aws.autoscaling.Group(`${logical}Group`, {
        name: named(logical.toLowerCase()),
        region,
        minSize: cell.edgesPerRegion,
        maxSize: cell.edgesPerRegion * 2,
        desiredCapacity: cell.edgesPerRegion,
        vpcZoneIdentifiers: network.subnetIds,
        launchTemplate: { id: template.id, version: "$Latest" },
        tags: [
          { key: "landfall:cell", value: cell.name, propagateAtLaunch: true },
          { key: "landfall:stage", value: $app.stage, propagateAtLaunch: true },
        ],
      });
    }
}

/** The region's default VPC. Users may connect to the listener's ports, the accelerator's checks to the health port. */
function networkOf(region: string, logical: string, cell: StageFleet["cells"][number], fleet: StageFleet) {
  if ($app.stage === localStage) return { subnetIds: ["subnet-local"], securityGroupId: "sg-local" };
  const vpc = aws.ec2.getVpcOutput({ default: true, region });
  const subnets = aws.ec2.getSubnetsOutput({ filters: [{ name: "vpc-id", values: [vpc.id] }], region });
  const anyone = { protocol: "tcp", cidrBlocks: ["0.0.0.0/0"] };
  const checkers = aws.ec2.getManagedPrefixListOutput({
    name: `com.amazonaws.${region}.route53-healthchecks`,
    region,
  });
  const group = new aws.ec2.SecurityGroup(`${logical}Security`, {
    region,
    vpcId: vpc.id,
    description: "Landfall edge",
    ingress: [
      { ...anyone, fromPort: fleet.edgeTlsPort, toPort: fleet.edgeTlsPort },
      { ...anyone, fromPort: cell.portBase, toPort: cell.portBase + cell.portCount - 1 },
      { protocol: "tcp", prefixListIds: [checkers.id], fromPort: fleet.healthPort, toPort: fleet.healthPort },
    ],
    egress: [{ protocol: "-1", fromPort: 0, toPort: 0, cidrBlocks: ["0.0.0.0/0"] }],
  });
  return { subnetIds: subnets.ids, securityGroupId: group.id };
}
