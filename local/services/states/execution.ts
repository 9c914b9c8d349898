/** One execution: its history, its waiting tasks, and the interpreter that runs its states. */
import type { HistoryEvent, HistoryEventType } from "@aws-sdk/client-sfn";
import { after, type Timer } from "../../clock.ts";
import { evaluate, StatesError } from "./expressions.ts";
import { failing, pause, together, unlessAborted } from "./flow.ts";
import { assign, bind, causeOf, type Frame, inner, limited, nameOf, wholeNumber } from "./frame.ts";
import type { Catcher, Definition, State } from "./language.ts";
import { matchesError, Retries } from "./retries.ts";

export interface ExecutionPorts {
  transitionMs: number;
  /** Invokes a function with the machine's role. Retry and Catch match the name of its error. */
  invoke(functionName: string, payload: unknown, signal: AbortSignal): Promise<unknown>;
  /** Creates a token that can be answered from outside; `close` discards it. */
  openTask(): { token: string; answered: Promise<unknown>; beats: (listener: () => void) => void; close: () => void };
  onTransition(): void;
}

export interface Identity {
  arn: string;
  name: string;
  roleArn: string;
  machineArn: string;
  machineName: string;
}

const eventsMax = 25_000;

interface Outcome {
  output: unknown;
  next: string | undefined;
}

export class Execution {
  readonly identity: Identity;
  readonly input: string;
  readonly startDate = new Date();
  readonly history: HistoryEvent[] = [];
  status: "RUNNING" | "SUCCEEDED" | "FAILED" | "TIMED_OUT" | "ABORTED" = "RUNNING";
  stopDate: Date | undefined;
  output: string | undefined;
  error: string | undefined;
  cause: string | undefined;
  readonly #definition: Definition;
  readonly #ports: ExecutionPorts;
  readonly #abort = new AbortController();

  constructor(definition: Definition, identity: Identity, input: string, ports: ExecutionPorts) {
    this.#definition = definition;
    this.identity = identity;
    this.input = input;
    this.#ports = ports;
  }

  async run(): Promise<void> {
    const { TimeoutSeconds } = this.#definition;
    const late =
      TimeoutSeconds === undefined
        ? undefined
        : after(TimeoutSeconds * 1000, () => this.#abort.abort(new Ended("TIMED_OUT", "States.Timeout")));
    this.#record("ExecutionStarted", {
      executionStartedEventDetails: { input: this.input, roleArn: this.identity.roleArn },
    });
    const { arn, name, roleArn, machineArn, machineName } = this.identity;
    const input = JSON.parse(this.input) as unknown;
    const started = this.startDate.toISOString();
    const context = {
      Execution: { Id: arn, Input: input, Name: name, RoleArn: roleArn, StartTime: started, RedriveCount: 0 },
      StateMachine: { Id: machineArn, Name: machineName },
    };
    try {
      const output = await this.#program({
        program: this.#definition,
        input,
        variables: {},
        context,
        signal: this.#abort.signal,
      });
      this.#end("SUCCEEDED", { output: JSON.stringify(output) });
    } catch (error) {
      if (error instanceof Ended)
        this.#end(error.status, { error: error.error, cause: error.cause as string | undefined });
      else this.#end("FAILED", { error: nameOf(error), cause: causeOf(error) });
    } finally {
      late?.clear();
    }
  }

  abort(error?: string, cause?: string): void {
    this.#abort.abort(new Ended("ABORTED", error, cause));
  }

  #end(
    status: Execution["status"],
    facts: { output?: string; error?: string | undefined; cause?: string | undefined },
  ): void {
    this.status = status;
    this.stopDate = new Date();
    Object.assign(this, facts);
    const { output, error, cause } = facts;
    if (status === "SUCCEEDED") this.#record("ExecutionSucceeded", { executionSucceededEventDetails: { output } });
    else if (status === "FAILED") this.#record("ExecutionFailed", { executionFailedEventDetails: { error, cause } });
    else if (status === "TIMED_OUT")
      this.#record("ExecutionTimedOut", { executionTimedOutEventDetails: { error, cause } });
    else this.#record("ExecutionAborted", { executionAbortedEventDetails: { error, cause } });
  }

  #record(type: HistoryEventType, details: Partial<HistoryEvent> = {}): void {
    const id = this.history.length + 1;
    if (id > eventsMax && this.status === "RUNNING")
      throw new Ended("FAILED", "States.Runtime", `the execution reached ${eventsMax} history events`);
    this.history.push({ id, previousEventId: id - 1, timestamp: new Date(), type, ...details });
  }

  async #program(frame: Frame): Promise<unknown> {
    let name: string | undefined = frame.program.StartAt;
    let { input } = frame;
    while (name !== undefined) {
      await pause(this.#ports.transitionMs, frame.signal);
      this.#ports.onTransition();
      const state: State = frame.program.States[name]!;
      limited(input);
      if (state.Type !== "Fail")
        this.#record(`${state.Type}StateEntered`, { stateEnteredEventDetails: { name, input: JSON.stringify(input) } });
      else this.#record("FailStateEntered", { stateEnteredEventDetails: { name, input: JSON.stringify(input) } });
      const { output, next }: Outcome = await this.#state(name, state, { ...frame, input });
      limited(output);
      if (state.Type !== "Fail")
        this.#record(`${state.Type}StateExited`, { stateExitedEventDetails: { name, output: JSON.stringify(output) } });
      input = output;
      name = next;
    }
    return input;
  }

  /** Runs a state with its retries and catchers. */
  async #state(name: string, state: State, frame: Frame): Promise<Outcome> {
    const entered = new Date().toISOString();
    const retries = new Retries("Retry" in state ? state.Retry : undefined);
    for (let RetryCount = 0; ; RetryCount++) {
      const context = { ...frame.context, State: { Name: name, EnteredTime: entered, RetryCount } };
      try {
        return await this.#attempt(state, { ...frame, context });
      } catch (error) {
        if (error instanceof Ended || frame.signal.aborted) throw frame.signal.aborted ? frame.signal.reason : error;
        const delayMs = retries.next(nameOf(error));
        if (delayMs !== undefined) {
          await pause(delayMs, frame.signal);
          continue;
        }
        const catcher = ("Catch" in state ? state.Catch : undefined)?.find(({ ErrorEquals }) =>
          matchesError(ErrorEquals, nameOf(error)),
        );
        if (catcher === undefined) throw error;
        return this.#caught(catcher, error, { ...frame, context });
      }
    }
  }

  async #caught(catcher: Catcher, error: unknown, frame: Frame): Promise<Outcome> {
    const errorOutput = { Error: nameOf(error), Cause: causeOf(error) };
    const bindings = bind(frame, { errorOutput });
    const output = catcher.Output === undefined ? errorOutput : await evaluate(catcher.Output, bindings);
    await assign(catcher.Assign, bindings, frame);
    return { output, next: catcher.Next };
  }

  async #attempt(state: State, frame: Frame): Promise<Outcome> {
    switch (state.Type) {
      case "Task":
        return this.#finish(state, frame, { result: await this.#task(state, frame) });
      case "Parallel":
        return this.#finish(state, frame, { result: await this.#parallel(state, frame) });
      case "Map":
        return this.#finish(state, frame, { result: await this.#map(state, frame) });
      case "Wait":
        await this.#wait(state, frame);
        return this.#finish(state, frame, {});
      case "Pass":
      case "Succeed":
        return this.#finish(state, frame, {});
      case "Choice":
        return this.#choose(state, frame);
      case "Fail": {
        const bindings = bind(frame, {});
        const error = state.Error === undefined ? "" : String(await evaluate(state.Error, bindings));
        throw new StatesError(error, state.Cause === undefined ? "" : String(await evaluate(state.Cause, bindings)));
      }
    }
  }

  /** Output and Assign both read the variables as they were before Assign. */
  async #finish(
    state: Exclude<State, { Type: "Fail" | "Choice" }>,
    frame: Frame,
    known: { result?: unknown },
  ): Promise<Outcome> {
    const bindings = bind(frame, known);
    const fallback = "result" in known ? known.result : frame.input;
    const output = state.Output === undefined ? fallback : await evaluate(state.Output, bindings);
    await assign(state.Assign, bindings, frame);
    return { output, next: "Next" in state ? state.Next : undefined };
  }

  async #choose(state: Extract<State, { Type: "Choice" }>, frame: Frame): Promise<Outcome> {
    const bindings = bind(frame, {});
    for (const rule of state.Choices) {
      const holds = await evaluate(rule.Condition, bindings);
      if (typeof holds !== "boolean")
        throw new StatesError("States.QueryEvaluationError", `a Condition returned ${typeof holds}, not a boolean`);
      if (!holds) continue;
      const output = rule.Output === undefined ? frame.input : await evaluate(rule.Output, bindings);
      await assign(rule.Assign, bindings, frame);
      return { output, next: rule.Next };
    }
    if (state.Default === undefined)
      throw new StatesError("States.NoChoiceMatched", "no rule of the Choice matched and it has no Default");
    const output = state.Output === undefined ? frame.input : await evaluate(state.Output, bindings);
    await assign(state.Assign, bindings, frame);
    return { output, next: state.Default };
  }

  async #task(state: Extract<State, { Type: "Task" }>, frame: Frame): Promise<unknown> {
    const waits = state.Resource.endsWith(".waitForTaskToken");
    const open = waits ? this.#ports.openTask() : undefined;
    const taskFrame =
      open === undefined ? frame : { ...frame, context: { ...frame.context, Task: { Token: open.token } } };
    const bindings = bind(taskFrame, {});
    const payload = state.Arguments === undefined ? frame.input : await evaluate(state.Arguments, bindings);
    limited(payload);
    const timeoutSeconds =
      state.TimeoutSeconds === undefined
        ? undefined
        : await wholeNumber(state.TimeoutSeconds, "TimeoutSeconds", bindings);
    const heartbeatSeconds =
      state.HeartbeatSeconds === undefined
        ? undefined
        : await wholeNumber(state.HeartbeatSeconds, "HeartbeatSeconds", bindings);
    const about = { resourceType: "lambda", resource: waits ? "invoke.waitForTaskToken" : "invoke" };
    this.#record("TaskScheduled", {
      taskScheduledEventDetails: {
        ...about,
        region: "us-west-2",
        parameters: JSON.stringify(payload),
        timeoutInSeconds: timeoutSeconds,
        heartbeatInSeconds: heartbeatSeconds,
      },
    });
    this.#record("TaskStarted", { taskStartedEventDetails: about });
    const local = new AbortController();
    const signal = AbortSignal.any([frame.signal, local.signal]);
    const clocks: Timer[] = [];
    const expire = (seconds: number, error: string) =>
      after(seconds * 1000, () => local.abort(new StatesError(error, "")));
    try {
      if (timeoutSeconds !== undefined) clocks.push(expire(timeoutSeconds, "States.Timeout"));
      if (heartbeatSeconds !== undefined) {
        let beat = expire(heartbeatSeconds, "States.HeartbeatTimeout");
        clocks.push(beat);
        open?.beats(() => {
          beat.clear();
          beat = expire(heartbeatSeconds, "States.HeartbeatTimeout");
          clocks.push(beat);
        });
      }
      const work = this.#invoke(state, payload, signal).then(async (result) => {
        if (open === undefined) return result;
        if (signal.aborted) throw signal.reason;
        this.#record("TaskSubmitted", { taskSubmittedEventDetails: { ...about, output: JSON.stringify(result) } });
        return open.answered;
      });
      const result = await unlessAborted(signal, [work, ...(open === undefined ? [] : [failing(open.answered)])]);
      limited(result);
      this.#record("TaskSucceeded", { taskSucceededEventDetails: { ...about, output: JSON.stringify(result) } });
      return result;
    } catch (error) {
      if (frame.signal.aborted) throw frame.signal.reason;
      const named = { ...about, error: nameOf(error), cause: causeOf(error) };
      if (nameOf(error) === "States.Timeout" || nameOf(error) === "States.HeartbeatTimeout")
        this.#record("TaskTimedOut", { taskTimedOutEventDetails: named });
      else this.#record("TaskFailed", { taskFailedEventDetails: named });
      throw error;
    } finally {
      for (const clock of clocks) clock.clear();
      open?.close();
    }
  }

  async #invoke(state: Extract<State, { Type: "Task" }>, payload: unknown, signal: AbortSignal): Promise<unknown> {
    if (!state.Resource.startsWith("arn:aws:states:::")) return this.#ports.invoke(state.Resource, payload, signal);
    const { FunctionName, Payload = {}, ...more } = (payload ?? {}) as { FunctionName?: unknown; Payload?: unknown };
    if (typeof FunctionName !== "string" || Object.keys(more).length > 0)
      throw new StatesError(
        "States.Runtime",
        `lambda:invoke takes FunctionName and Payload here, got ${Object.keys((payload as object | null) ?? {}).join(", ")}`,
      );
    return {
      ExecutedVersion: "$LATEST",
      Payload: await this.#ports.invoke(FunctionName, Payload, signal),
      StatusCode: 200,
    };
  }

  async #parallel(state: Extract<State, { Type: "Parallel" }>, frame: Frame): Promise<unknown[]> {
    const input = state.Arguments === undefined ? frame.input : await evaluate(state.Arguments, bind(frame, {}));
    this.#record("ParallelStateStarted");
    const runs = state.Branches.map(
      (program) => (signal: AbortSignal) => this.#program({ ...inner(frame, signal), program, input }),
    );
    const results = await together(runs, runs.length, frame.signal);
    this.#record("ParallelStateSucceeded");
    return results;
  }

  async #map(state: Extract<State, { Type: "Map" }>, frame: Frame): Promise<unknown[]> {
    const bindings = bind(frame, {});
    const items = state.Items === undefined ? frame.input : await evaluate(state.Items, bindings);
    if (!Array.isArray(items)) throw new StatesError("States.QueryEvaluationError", "Items of a Map is not an array");
    const most =
      state.MaxConcurrency === undefined ? 0 : await wholeNumber(state.MaxConcurrency, "MaxConcurrency", bindings);
    this.#record("MapStateStarted", { mapStateStartedEventDetails: { length: items.length } });
    const runs = items.map((Value: unknown, Index) => async (signal: AbortSignal) => {
      const context = { ...frame.context, Map: { Item: { Index, Value } } };
      this.#record("MapIterationStarted", { mapIterationStartedEventDetails: { name: "Map", index: Index } });
      const within = { ...inner(frame, signal), context };
      const input = state.ItemSelector === undefined ? Value : await evaluate(state.ItemSelector, bind(within, {}));
      const output = await this.#program({ ...within, program: state.ItemProcessor, input });
      this.#record("MapIterationSucceeded", { mapIterationSucceededEventDetails: { name: "Map", index: Index } });
      return output;
    });
    const results = await together(runs, most > 0 ? most : 40, frame.signal); // AWS runs about 40 of an inline Map at once
    this.#record("MapStateSucceeded");
    return results;
  }

  async #wait(state: Extract<State, { Type: "Wait" }>, frame: Frame): Promise<void> {
    const bindings = bind(frame, {});
    if (state.Timestamp !== undefined) {
      const until = Date.parse(String(await evaluate(state.Timestamp, bindings)));
      if (Number.isNaN(until))
        throw new StatesError("States.QueryEvaluationError", "Timestamp of a Wait is not a time");
      return pause(until - Date.now(), frame.signal);
    }
    const seconds = await wholeNumber(state.Seconds, "Seconds", bindings);
    return pause(seconds * 1000, frame.signal);
  }
}

/** Ends the execution. No Retry or Catch matches it. */
class Ended extends Error {
  readonly status: Execution["status"];
  readonly error: string | undefined;
  constructor(status: Execution["status"], error?: string, cause?: string) {
    super(error, { cause });
    this.status = status;
    this.error = error;
  }
}
