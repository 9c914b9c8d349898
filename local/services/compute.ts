/** EC2 and Auto Scaling: an instance is a local edge. Launched with the cloud; described, stopped, started, terminated. */
import * as autoScaling from "@aws-sdk/client-auto-scaling";
import * as ec2 from "@aws-sdk/client-ec2";
import type { LocalEdge } from "../edges/edge.ts";
import { AwsError, service } from "../gateway/service.ts";

export interface InstanceGroup {
  name: string;
  region: string;
  min: number;
  max: number;
  desired: number;
  template: string;
  edges: LocalEdge[];
}

export class Compute {
  readonly #groups: InstanceGroup[] = [];
  readonly #launched = new Date();

  add(group: InstanceGroup): void {
    this.#groups.push(group);
  }

  get edges(): LocalEdge[] {
    return this.#groups.flatMap(({ edges }) => edges);
  }

  addressOf(id: string): string | undefined {
    return this.edges.find(({ config }) => config.id === id)?.config.address;
  }

  #edge(id: string, region: string): LocalEdge {
    const edge = this.edges.find(({ config }) => config.id === id && config.region === region);
    if (edge === undefined) throw new AwsError("InvalidInstanceID.NotFound", `The instance ID '${id}' does not exist`);
    return edge;
  }

  #changed(ids: string[] = [], region: string, change: (edge: LocalEdge) => void) {
    const edges = ids.map((id) => this.#edge(id, region)); // all or none
    return edges.map((edge) => {
      const before = stateOf(edge);
      change(edge);
      return { InstanceId: edge.config.id, PreviousState: before, CurrentState: stateOf(edge) };
    });
  }

  ec2() {
    return service<typeof ec2>({
      signingName: "ec2",
      protocol: "ec2Query",
      sdk: ec2,
      handlers: {
        DescribeInstances: ({ InstanceIds, Filters = [] }, { region }) => {
          if (Filters.length > 0) throw new AwsError("InvalidParameterValue", "filters are not implemented here");
          const here = this.edges.filter(({ config }) => config.region === region);
          const wanted = InstanceIds === undefined ? here : InstanceIds.map((id) => this.#edge(id, region));
          const Instances = wanted.map((edge) => ({
            InstanceId: edge.config.id,
            InstanceType: "t4g.small",
            PrivateIpAddress: edge.config.address,
            State: stateOf(edge),
            LaunchTime: this.#launched,
            Tags: [{ Key: "landfall:cell", Value: edge.config.cell }],
          }));
          return { Reservations: Instances.length === 0 ? [] : [{ ReservationId: "r-local", Instances }] };
        },
        TerminateInstances: ({ InstanceIds }, { region }) => ({
          TerminatingInstances: this.#changed(InstanceIds, region, (edge) => edge.powerOff("terminated")),
        }),
        StopInstances: ({ InstanceIds }, { region }) => ({
          StoppingInstances: this.#changed(InstanceIds, region, (edge) => edge.powerOff("stopped")),
        }),
        StartInstances: ({ InstanceIds }, { region }) => ({
          StartingInstances: this.#changed(InstanceIds, region, (edge) => {
            if (edge.state === "terminated")
              throw new AwsError("IncorrectInstanceState", `The instance '${edge.config.id}' is terminated`);
            if (edge.state === "stopped") edge.start();
          }),
        }),
      },
    });
  }

  autoScaling() {
    return service<typeof autoScaling>({
      signingName: "autoscaling",
      protocol: "awsQuery",
      sdk: autoScaling,
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
