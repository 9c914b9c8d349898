import { createHash } from "node:crypto";
import { createRequire } from "node:module";
import path from "node:path";
import { EdgeSettings } from "../../edge/agent/settings.ts";
import { settingsIn } from "../../edge/user-data.ts";
import { type BootContext, keyFor, text, withDeployed } from "../context.ts";
import type { LockedResource } from "../lock.ts";
import { LocalEdge } from "./edge.ts";

/** Starts each Auto Scaling group's instances: real nginx and an agent each, with the launch template's user data. */
export function bootEdges(context: BootContext): void {
  const { lock, services, geography } = context;
  const templates = new Map(
    lock.all("aws:ec2/launchTemplate:LaunchTemplate").map((template) => [text(template.inputs.name), template]),
  );
  const profiles = new Map(
    lock
      .all("aws:iam/instanceProfile:InstanceProfile")
      .map(({ inputs }) => [
        `arn:aws:iam::${context.account}:instance-profile/${text(inputs.name)}`,
        text(inputs.role),
      ]),
  );
  const launched = new Map<string, number>();
  for (const group of lock.all("aws:autoscaling/group:Group")) {
    const { region, inputs } = group;
    const template = templates.get(text((inputs.launchTemplate as { id: string }).id))!;
    const count = context.edgesPerGroup ?? Number(inputs.desiredCapacity);
    const role = profiles.get((template.inputs.iamInstanceProfile as { arn: string }).arn)!;
    const edges = Array.from({ length: count }, (_, index) => {
      const number = launched.get(region) ?? 0;
      launched.set(region, number + 1);
      return newEdge(context, group, template, index, geography.edgeAddress(region, number), role);
    });
    services.compute.add({
      name: text(inputs.name),
      region,
      min: Number(inputs.minSize),
      max: Number(inputs.maxSize),
      desired: count,
      template: text(template.inputs.name),
      tags: tagsIn(inputs.tags),
      edges,
    });
    for (const edge of edges) edge.start();
  }
}

/** Tags of a group that its instances get at launch. */
const tagsIn = (tags: unknown) =>
  ((tags ?? []) as { key: string; value: string; propagateAtLaunch: boolean }[])
    .filter(({ propagateAtLaunch }) => propagateAtLaunch)
    .map(({ key, value }) => ({ Key: key, Value: value }));

const versionOf = createRequire(import.meta.url)("../../package.json") as { version: string };

function newEdge(
  context: BootContext,
  group: LockedResource,
  template: LockedResource,
  index: number,
  address: string,
  role: string,
): LocalEdge {
  const data = Buffer.from(text(template.inputs.userData), "base64").toString("utf8");
  const settings = EdgeSettings.parse(settingsIn(withDeployed(context, data)));
  const id = `i-${createHash("sha256").update(`${group.name} ${index}`).digest("hex").slice(0, 17)}`;
  return new LocalEdge({
    id,
    cell: settings.cell,
    region: group.region,
    address,
    dir: path.join(context.scratch, "edges", id),
    settings,
    agentBundle: context.agentBundle,
    environment: {
      ...keyFor(context, {
        roleArn: `arn:aws:iam::${context.account}:role/${role}`,
        service: "ec2.amazonaws.com",
        session: id,
        region: group.region,
      }),
      PATH: process.env.PATH ?? "/usr/sbin:/usr/bin",
      AWS_ENDPOINT_URL: context.endpoint,
      LANDFALL_DNS_SERVERS: context.dns.server,
      LANDFALL_VERSION: versionOf.version,
    },
    onFault: context.onFault,
  });
}
