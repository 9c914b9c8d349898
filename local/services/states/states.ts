/** Step Functions: machines, executions, task tokens. */
import { randomUUID } from "node:crypto";
import * as sdk from "@aws-sdk/client-sfn";
import { AwsError } from "../../gateway/error.ts";
import { service } from "../../gateway/service.ts";
import { isJson } from "../../json.ts";
import { checkDefinition } from "./definition.ts";
import { Execution } from "./execution.ts";
import { StatesError } from "./expressions.ts";
import type { Definition } from "./language.ts";

interface Machine {
  name: string;
  arn: string;
  roleArn: string;
  text: string;
  definition: Definition;
  created: Date;
  executions: Map<string, Execution>;
}

export interface StatesPorts {
  account: string;
  transitionMs: number;
  /** Invokes a function with a machine's role. @throws StatesError with the function's own error name */
  invoke(roleArn: string, functionName: string, payload: unknown): Promise<unknown>;
  /** Called when an execution ends as FAILED or TIMED_OUT. On AWS an alarm reports it. */
  onFailed?(execution: Execution): void;
}

/** Finished executions kept for each machine; AWS keeps them for 90 days. */
const keptMax = 1000;
const inputMax = 262_144;
const fault = { $metadata: {} };

export class States {
  readonly #ports: StatesPorts;
  readonly #machines = new Map<string, Machine>();
  readonly #tasks = new Map<string, { succeed(value: unknown): void; fail(error: Error): void; beat(): void }>();
  /** Transitions since the start, for measurements. */
  transitions = 0;

  constructor(ports: StatesPorts) {
    this.#ports = ports;
  }

  createMachine(region: string, name: string, roleArn: string, text: string): string {
    if (!/^[A-Za-z0-9_+=,.@-]{1,80}$/.test(name))
      throw new sdk.InvalidName({ message: `Invalid Name: '${name}'`, ...fault });
    if (!/^arn:aws:iam::\d{12}:role\/.+/.test(roleArn))
      throw new sdk.InvalidArn({ message: `Invalid Arn: '${roleArn}'`, ...fault });
    const checked = checkDefinition(text);
    if (!("definition" in checked))
      throw new sdk.InvalidDefinition({
        message: `Invalid State Machine Definition: 'SCHEMA_VALIDATION_FAILED: ${checked.faults.join("; ")}'`,
        ...fault,
      });
    const arn = `arn:aws:states:${region}:${this.#ports.account}:stateMachine:${name}`;
    const known = this.#machines.get(arn);
    if (known !== undefined && (known.text !== text || known.roleArn !== roleArn))
      throw new sdk.StateMachineAlreadyExists({ message: `State Machine Already Exists: '${arn}'`, ...fault });
    const { definition } = checked;
    this.#machines.set(
      arn,
      known ?? { name, arn, roleArn, text, definition, created: new Date(), executions: new Map() },
    );
    return arn;
  }

  startExecution(machineArn: string, name: string, input: string): Execution {
    const machine = this.#machine(machineArn);
    const known = machine.executions.get(name);
    if (known !== undefined) {
      if (known.status === "RUNNING" && known.input === input) return known;
      throw new sdk.ExecutionAlreadyExists({ message: `Execution Already Exists: '${known.identity.arn}'`, ...fault });
    }
    if (!/^[^\s<>{}[\]?*"#%\\^|~`$&,;:/]{1,80}$/.test(name))
      throw new sdk.InvalidName({ message: `Invalid Name: '${name}'`, ...fault });
    if (Buffer.byteLength(input) > inputMax || !isJson(input))
      throw new sdk.InvalidExecutionInput({ message: "Invalid State Machine Execution Input", ...fault });
    const arn = `${machine.arn.replace(":stateMachine:", ":execution:")}:${name}`;
    const { roleArn } = machine;
    const execution = new Execution(
      machine.definition,
      { arn, name, roleArn, machineArn: machine.arn, machineName: machine.name },
      input,
      {
        transitionMs: this.#ports.transitionMs,
        invoke: (functionName, payload) => this.#ports.invoke(roleArn, functionName, payload),
        openTask: () => this.#openTask(),
        onTransition: () => {
          this.transitions++;
        },
      },
    );
    machine.executions.set(name, execution);
    this.#forget(machine);
    void execution.run().then(() => {
      if (execution.status === "FAILED" || execution.status === "TIMED_OUT") this.#ports.onFailed?.(execution);
    });
    return execution;
  }

  stop(): void {
    for (const machine of this.#machines.values())
      for (const execution of machine.executions.values())
        if (execution.status === "RUNNING") execution.abort("Stopped", "the cloud stops");
  }

  #forget(machine: Machine): void {
    if (machine.executions.size <= keptMax) return;
    const finished = [...machine.executions].find(([, execution]) => execution.status !== "RUNNING");
    if (finished !== undefined) machine.executions.delete(finished[0]);
  }

  #openTask() {
    const token = Buffer.from(randomUUID() + randomUUID()).toString("base64");
    const answer = Promise.withResolvers<unknown>();
    answer.promise.catch(() => {}); // the race handles the failure, or the task no longer waits
    let beat = () => {};
    this.#tasks.set(token, { succeed: answer.resolve, fail: answer.reject, beat: () => beat() });
    return {
      token,
      answered: answer.promise,
      beats: (listener: () => void) => {
        beat = listener;
      },
      close: () => void this.#tasks.delete(token),
    };
  }

  #task(token: string | undefined) {
    if (!/^[A-Za-z0-9+/=]{90,100}$/.test(token ?? ""))
      throw new sdk.InvalidToken({ message: `Invalid Token: '${token}'`, ...fault });
    const task = this.#tasks.get(token ?? "");
    if (task === undefined)
      throw new sdk.TaskTimedOut({ message: "Task Timed Out: 'Provided task does not exist anymore'", ...fault });
    return task;
  }

  #machine(arn: string | undefined): Machine {
    const machine = this.#machines.get(arn ?? "");
    if (machine === undefined)
      throw new sdk.StateMachineDoesNotExist({ message: `State Machine Does Not Exist: '${arn}'`, ...fault });
    return machine;
  }

  #execution(arn: string | undefined): Execution {
    const found = /^(.*):execution:([^:]+):(.+)$/.exec(arn ?? "");
    const execution = found && this.#machines.get(`${found[1]}:stateMachine:${found[2]}`)?.executions.get(found[3]!);
    if (!execution) throw new sdk.ExecutionDoesNotExist({ message: `Execution Does Not Exist: '${arn}'`, ...fault });
    return execution;
  }

  service() {
    return service<typeof sdk>({
      signingName: "states",
      protocol: "awsJson",
      sdk,
      resourcesOf: (_, { stateMachineArn, executionArn }) => [String(stateMachineArn ?? executionArn ?? "*")],
      members: {
        CreateStateMachine: "name definition roleArn type",
        UpdateStateMachine: "stateMachineArn definition roleArn",
        StartExecution: "stateMachineArn name input traceHeader",
        ListExecutions: "stateMachineArn statusFilter maxResults nextToken",
        DescribeExecution: "executionArn includedData",
        DescribeStateMachine: "stateMachineArn includedData",
        GetExecutionHistory: "executionArn maxResults reverseOrder nextToken includeExecutionData",
      },
      handlers: {
        CreateStateMachine: ({ name, definition, roleArn, type }, { region }) => {
          if (type === "EXPRESS")
            throw new AwsError("StateMachineTypeNotSupported", "only STANDARD machines are implemented here");
          const stateMachineArn = this.createMachine(region, name!, roleArn!, definition!);
          return { stateMachineArn, creationDate: this.#machine(stateMachineArn).created };
        },
        UpdateStateMachine: ({ stateMachineArn, definition, roleArn }) => {
          const machine = this.#machine(stateMachineArn);
          const checked = checkDefinition(definition ?? machine.text);
          if (!("definition" in checked))
            throw new sdk.InvalidDefinition({ message: checked.faults.join("; "), ...fault });
          machine.definition = checked.definition; // running executions keep their definition
          machine.text = definition ?? machine.text;
          machine.roleArn = roleArn ?? machine.roleArn;
          return { updateDate: new Date() };
        },
        DeleteStateMachine: ({ stateMachineArn }) => void this.#machines.delete(stateMachineArn!),
        DescribeStateMachine: ({ stateMachineArn }) => {
          const { arn, name, roleArn, text, created } = this.#machine(stateMachineArn);
          return {
            stateMachineArn: arn,
            name,
            roleArn,
            definition: text,
            type: "STANDARD",
            status: "ACTIVE",
            creationDate: created,
          };
        },
        ListStateMachines: (_, { region }) => ({
          stateMachines: [...this.#machines.values()]
            .filter(({ arn }) => arn.includes(`:states:${region}:`))
            .map(({ arn, name, created }) => ({
              stateMachineArn: arn,
              name,
              type: "STANDARD",
              creationDate: created,
            })),
        }),
        StartExecution: ({ stateMachineArn, name = randomUUID(), input = "{}" }) => {
          const { identity, startDate } = this.startExecution(stateMachineArn!, name, input);
          return { executionArn: identity.arn, startDate };
        },
        StopExecution: ({ executionArn, error, cause }) => {
          const execution = this.#execution(executionArn);
          execution.abort(error, cause);
          return { stopDate: new Date() };
        },
        DescribeExecution: ({ executionArn }) => described(this.#execution(executionArn)),
        ListExecutions: ({ stateMachineArn, statusFilter, maxResults = 100, nextToken }) => {
          const all = [...this.#machine(stateMachineArn).executions.values()].reverse();
          const fitting = all.filter(({ status }) => statusFilter === undefined || status === statusFilter);
          const from = offsetOf(nextToken);
          const size = maxResults === 0 ? 100 : maxResults;
          const executions = fitting.slice(from, from + size).map((execution) => {
            const { input: _i, output: _o, error: _e, cause: _c, ...short } = described(execution);
            return short;
          });
          return {
            executions,
            ...(from + size < fitting.length ? { nextToken: String(from + size) } : {}),
          };
        },
        GetExecutionHistory: ({ executionArn, maxResults = 100, reverseOrder, nextToken }) => {
          const { history } = this.#execution(executionArn);
          const ordered = reverseOrder === true ? history.toReversed() : history;
          const from = offsetOf(nextToken);
          const size = maxResults === 0 ? 100 : maxResults;
          return {
            events: ordered.slice(from, from + size),
            ...(from + size < ordered.length ? { nextToken: String(from + size) } : {}),
          };
        },
        SendTaskSuccess: ({ taskToken, output }) => {
          if (!isJson(output!)) throw new sdk.InvalidOutput({ message: "Invalid Output: it is not JSON", ...fault });
          this.#task(taskToken).succeed(JSON.parse(output!));
        },
        SendTaskFailure: ({ taskToken, error = "", cause = "" }) => {
          this.#task(taskToken).fail(new StatesError(error, cause));
        },
        SendTaskHeartbeat: ({ taskToken }) => {
          this.#task(taskToken).beat();
        },
      },
    });
  }
}

function offsetOf(nextToken: string | undefined): number {
  const offset = Number(nextToken ?? 0);
  if (!Number.isInteger(offset) || offset < 0)
    throw new sdk.InvalidToken({ message: `Invalid Token: '${nextToken}'`, ...fault });
  return offset;
}

function described({ identity, status, startDate, stopDate, input, output, error, cause }: Execution) {
  return {
    executionArn: identity.arn,
    stateMachineArn: identity.machineArn,
    name: identity.name,
    status,
    startDate,
    stopDate,
    input,
    output,
    error,
    cause,
  };
}
