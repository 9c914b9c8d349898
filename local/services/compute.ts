/** EC2 and Auto Scaling. An instance is a local edge, started with the cloud. It can be stopped, started or ended. */
import { randomUUID } from "node:crypto";
import * as autoScaling from "@aws-sdk/client-auto-scaling";
import * as ec2 from "@aws-sdk/client-ec2";
import type { LocalEdge } from "../edges/edge.ts";
import { AwsError } from "../gateway/error.ts";
import { service } from "../gateway/service.ts";
import type { Context } from "../iam/conditions.ts";

export interface InstanceGroup {
  name: string;
  region: string;
  min: number;
  max: number;
  desired: number;
  template: string;
  /** Tags that the group gives its instances. */
  tags: { Key: string; Value: string }[];
  edges: LocalEdge[];
}

/** What EC2 says of an instance on its region's default bus. */
export type SayState = (region: string, id: string, state: string) => void;

export class Compute {
  readonly #say: SayState;
  readonly #groups: InstanceGroup[] = [];
  readonly #launched = new Date();

  constructor(say: SayState = () => {}) {
    this.#say = say;
  }

  add(group: InstanceGroup): void {
    this.#groups.push(group);
  }

  get edges(): LocalEdge[] {
    return this.#groups.flatMap(({ edges }) => edges);
  }

  addressOf(id: string, region: string): string | undefined {
    return this.edges.find(({ config }) => config.id === id && config.region === region)?.config.address;
  }

  stateOf(id: string, region: string): LocalEdge["state"] | undefined {
    return this.edges.find(({ config }) => config.id === id && config.region === region)?.state;
  }

  /** Condition keys of a call on these instances: the tags that all of them have. */
  #tagsOf(ids: string[]): Context {
    const tags = this.#groups.filter(({ edges }) => edges.some(({ config }) => ids.includes(config.id)));
    const shared = (tags[0]?.tags ?? []).filter(({ Key, Value }) =>
      tags.every((group) => group.tags.some((tag) => tag.Key === Key && tag.Value === Value)),
    );
    return Object.fromEntries(shared.map(({ Key, Value }) => [`aws:ResourceTag/${Key}`, Value]));
  }

  #edge(id: string, region: string): LocalEdge {
    const edge = this.edges.find(({ config }) => config.id === id && config.region === region);
    if (edge === undefined) throw new AwsError("InvalidInstanceID.NotFound", `The instance ID '${id}' does not exist`);
    return edge;
  }

  /** Changes all of the instances, or none. */
  #changed(ids: string[] = [], region: string, dryRun: boolean | undefined, what: "stop" | "start" | "terminate") {
    const edges = ids.map((id) => this.#edge(id, region));
    const gone = edges.find(({ state }) => state === "terminated");
    if (gone !== undefined && what !== "terminate")
      throw new AwsError(
        "IncorrectInstanceState",
        `The instance '${gone.config.id}' is not in a state from which it can be ${what}ed.`,
      );
    if (dryRun === true)
      throw new AwsError("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412);
    return edges.map((edge) => {
      const before = stateOf(edge);
      if (what === "terminate") edge.powerOff("terminated");
      else if (what === "stop") edge.powerOff("stopped");
      else if (edge.state === "stopped") edge.start();
      for (const state of statesThrough(before.Name, stateOf(edge).Name)) this.#say(region, edge.config.id, state);
      return { InstanceId: edge.config.id, PreviousState: before, CurrentState: stateOf(edge) };
    });
  }

  ec2() {
    return service<typeof ec2>({
      signingName: "ec2",
      protocol: "ec2Query",
      sdk: ec2,
      resourcesOf: (operation, { InstanceIds }, { region, account }) =>
        operation === "DescribeInstances"
          ? ["*"]
          : ((InstanceIds as string[] | undefined) ?? []).map(
              (id) => `arn:aws:ec2:${region}:${account}:instance/${id}`,
            ),
      contextOf: (_, { InstanceIds }) => this.#tagsOf((InstanceIds as string[] | undefined) ?? []),
      handlers: {
        DescribeInstances: ({ InstanceIds, Filters = [] }, { region }) => {
          if (Filters.length > 0) throw new AwsError("InvalidParameterValue", "filters are not implemented here");
          const here = this.edges.filter(({ config }) => config.region === region);
          const wanted = InstanceIds === undefined ? here : InstanceIds.map((id) => this.#edge(id, region));
          const tagsOf = (edge: LocalEdge) => this.#groups.find(({ edges }) => edges.includes(edge))?.tags ?? [];
          const Instances = wanted.map((edge) => ({
            InstanceId: edge.config.id,
            InstanceType: "t4g.small",
            PrivateIpAddress: edge.config.address,
            State: stateOf(edge),
            LaunchTime: this.#launched,
            Tags: tagsOf(edge),
          }));
          return { Reservations: Instances.length === 0 ? [] : [{ ReservationId: "r-local", Instances }] };
        },
        TerminateInstances: ({ InstanceIds, DryRun }, { region }) => ({
          TerminatingInstances: this.#changed(InstanceIds, region, DryRun, "terminate"),
        }),
        StopInstances: ({ InstanceIds, DryRun }, { region }) => ({
          StoppingInstances: this.#changed(InstanceIds, region, DryRun, "stop"),
        }),
        StartInstances: ({ InstanceIds, DryRun }, { region }) => ({
          StartingInstances: this.#changed(InstanceIds, region, DryRun, "start"),
        }),
      },
    });
  }

  autoScaling() {
    return service<typeof autoScaling>({
      signingName: "autoscaling",
      protocol: "awsQuery",
      sdk: autoScaling,
      members: { DescribeAutoScalingGroups: "AutoScalingGroupNames MaxRecords" },
      handlers: {
        DescribeAutoScalingGroups: ({ AutoScalingGroupNames: names }, { region }) => ({
          AutoScalingGroups: this.#groups
            .filter((group) => group.region === region && (names === undefined || names.includes(group.name)))
            .map((group) => ({
              AutoScalingGroupName: group.name,
              MinSize: group.min,
              MaxSize: group.max,
              DesiredCapacity: group.desired,
              DefaultCooldown: 300,
              HealthCheckType: "EC2",
              CreatedTime: this.#launched,
              AvailabilityZones: [`${region}a`],
              LaunchTemplate: { LaunchTemplateName: group.template, Version: "$Latest" },
              Instances: group.edges.map((edge) => ({
                InstanceId: edge.config.id,
                AvailabilityZone: `${region}a`,
                LifecycleState: edge.state === "terminated" ? "Terminated" : "InService",
                HealthStatus: edge.state === "running" ? "Healthy" : "Unhealthy",
                ProtectedFromScaleIn: false,
              })),
            })),
        }),
      },
    });
  }
}

const states = {
  running: { Code: 16, Name: "running" },
  stopped: { Code: 80, Name: "stopped" },
  terminated: { Code: 48, Name: "terminated" },
} as const;
const stateOf = ({ state }: LocalEdge) => states[state];

/** As EC2 publishes it (EC2 user guide, "Monitor for changes to your instances' state"). */
export const instanceEvent = ({
  account,
  region,
  id,
  state,
}: Record<"account" | "region" | "id" | "state", string>) => ({
  version: "0" as const,
  id: randomUUID(),
  "detail-type": "EC2 Instance State-change Notification",
  source: "aws.ec2",
  account,
  time: new Date().toISOString().replace(/\.\d+Z$/, "Z"),
  region,
  resources: [`arn:aws:ec2:${region}:${account}:instance/${id}`],
  detail: { "instance-id": id, state },
});

/** The states that an instance passes on its way from one to another. */
function statesThrough(from: string, to: string): string[] {
  if (from === to) return [];
  return {
    running: ["pending", "running"],
    stopped: ["stopping", "stopped"],
    terminated: ["shutting-down", "terminated"],
  }[to]!;
}
