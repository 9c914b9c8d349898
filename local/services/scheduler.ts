/** Scheduler: schedules with a rate. Each starts its target when it is created, and then at its rate. */
import * as sdk from "@aws-sdk/client-scheduler";
import { after, type Timer } from "../clock.ts";
import { AwsError } from "../gateway/error.ts";
import { service } from "../gateway/service.ts";

interface Schedule {
  name: string;
  arn: string;
  expression: string;
  target: { Arn: string; RoleArn: string; Input?: string | undefined };
  created: Date;
  timer: Timer | undefined;
}

export interface SchedulerPorts {
  account: string;
  deliver(arn: string, input: string, via: { roleArn: string; sourceArn: string }): Promise<void>;
  onFault(error: unknown, what: string): void;
}

const units: Record<string, number> = { minute: 60_000, hour: 3_600_000, day: 86_400_000 };

export class Scheduler {
  readonly #ports: SchedulerPorts;
  readonly #schedules = new Map<string, Schedule>();

  constructor(ports: SchedulerPorts) {
    this.#ports = ports;
  }

  create(region: string, name: string, expression: string, target: Schedule["target"]): string {
    const [, count = "0", unit] = /^rate\((\d+) (minute|hour|day)s?\)$/.exec(expression) ?? [];
    if (unit === undefined || Number(count) < 1)
      throw new AwsError(
        "ValidationException",
        `Invalid Schedule Expression ${expression}: only rate(…) is implemented here`,
      );
    const arn = `arn:aws:scheduler:${region}:${this.#ports.account}:schedule/default/${name}`;
    const fire = () =>
      void this.#ports
        .deliver(target.Arn, target.Input ?? "{}", { roleArn: target.RoleArn, sourceArn: arn })
        .catch((error) => this.#ports.onFault(error, `schedule ${name}`));
    const everyMs = Number(count) * units[unit]!;
    const schedule = { name, arn, expression, target, created: new Date(), timer: undefined as Timer | undefined };
    const next = () => {
      schedule.timer = after(everyMs, () => {
        fire();
        next();
      });
    };
    next();
    this.#schedules.set(`${region} ${name}`, schedule);
    fire();
    return arn;
  }

  stop(): void {
    for (const { timer } of this.#schedules.values()) timer?.clear();
  }

  service() {
    const find = (region: string, name: string | undefined) => {
      const schedule = this.#schedules.get(`${region} ${name}`);
      if (schedule === undefined)
        throw new sdk.ResourceNotFoundException({
          Message: `Schedule ${name} does not exist.`,
          message: `Schedule ${name} does not exist.`,
          $metadata: {},
        });
      return schedule;
    };
    const shown = ({ name, arn, expression, target, created }: Schedule) => ({
      Name: name,
      Arn: arn,
      GroupName: "default",
      ScheduleExpression: expression,
      State: "ENABLED",
      Target: target,
      CreationDate: created,
      FlexibleTimeWindow: { Mode: "OFF" },
    });
    return service<typeof sdk>({
      signingName: "scheduler",
      protocol: "restJson",
      sdk,
      members: {
        CreateSchedule:
          "Name ScheduleExpression Target FlexibleTimeWindow ClientToken ScheduleExpressionTimezone Description",
      },
      handlers: {
        CreateSchedule: ({ Name, ScheduleExpression, Target }, { region }) => {
          if (this.#schedules.has(`${region} ${Name}`))
            throw new AwsError("ConflictException", `Schedule ${Name} already exists.`, 409);
          const target = { Arn: Target!.Arn!, RoleArn: Target!.RoleArn!, Input: Target!.Input };
          return { ScheduleArn: this.create(region, Name!, ScheduleExpression!, target) };
        },
        GetSchedule: ({ Name }, { region }) => shown(find(region, Name)),
        ListSchedules: () => ({ Schedules: [...this.#schedules.values()].map(shown) }),
        DeleteSchedule: ({ Name }, { region }) => {
          find(region, Name).timer?.clear();
          this.#schedules.delete(`${region} ${Name}`);
        },
      },
    });
  }
}
