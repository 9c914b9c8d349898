/**
 * Checks a definition in Amazon States Language, JSONata only, when a machine is created. Refuses by name what is not
 * implemented here, so that no machine silently runs differently from AWS.
 */
import jsonata from "jsonata";
import { type Definition, isExpression, type State } from "./language.ts";
import { refusedNames } from "./names.ts";

const flow = ["Next", "End"];
const common = ["Type", "Comment", "QueryLanguage", "Output", "Assign"];
const guarded = ["Retry", "Catch"];
const fields: Record<State["Type"], string[]> = {
  Task: [...common, ...flow, ...guarded, "Resource", "Arguments", "TimeoutSeconds", "HeartbeatSeconds"],
  Pass: [...common, ...flow],
  Choice: [...common, "Choices", "Default"],
  Wait: [...common, ...flow, "Seconds", "Timestamp"],
  Succeed: common,
  Fail: ["Type", "Comment", "QueryLanguage", "Error", "Cause"],
  Parallel: [...common, ...flow, ...guarded, "Branches", "Arguments"],
  Map: [...common, ...flow, ...guarded, "Items", "ItemSelector", "ItemProcessor", "MaxConcurrency"],
};
const jsonPath = [
  "InputPath",
  "OutputPath",
  "ResultPath",
  "ResultSelector",
  "Parameters",
  "ItemsPath",
  "TimeoutSecondsPath",
  "HeartbeatSecondsPath",
  "SecondsPath",
  "TimestampPath",
  "ErrorPath",
  "CausePath",
  "MaxConcurrencyPath",
  "Variable",
];

const resources =
  /^arn:aws:(states:::lambda:invoke(\.waitForTaskToken)?|lambda:[a-z0-9-]+:\d{12}:function:[\w-]+(:[\w$-]+)?)$/;

/** All faults of a definition, as `/States/Wait/Seconds: …`, or the definition if it has no fault. */
export function checkDefinition(text: string): { definition: Definition; faults: [] } | { faults: string[] } {
  let root: unknown;
  try {
    root = JSON.parse(text);
  } catch (error) {
    return { faults: [`/: it is not JSON: ${(error as Error).message}`] };
  }
  const check = new Check();
  if (check.record(root, "")) {
    check.only(root, ["Comment", "QueryLanguage", "StartAt", "States", "TimeoutSeconds", "Version"], "");
    if (root.QueryLanguage !== "JSONata") check.fault("/QueryLanguage", "only JSONata is implemented here");
    if (root.Version !== undefined && root.Version !== "1.0") check.fault("/Version", "must be 1.0");
    if (root.TimeoutSeconds !== undefined) check.seconds(root.TimeoutSeconds, "/TimeoutSeconds", 1);
    check.program(root, "");
  }
  return check.faults.length > 0 ? { faults: check.faults } : { definition: root as Definition, faults: [] };
}

type Json = Record<string, unknown>;

class Check {
  readonly faults: string[] = [];

  fault(path: string, message: string): void {
    this.faults.push(`${path || "/"}: ${message}`);
  }

  record(value: unknown, path: string): value is Json {
    const good = value !== null && typeof value === "object" && !Array.isArray(value);
    if (!good) this.fault(path, "must be an object");
    return good;
  }

  only(value: Json, allowed: string[], path: string): void {
    for (const key of Object.keys(value)) {
      if (allowed.includes(key)) continue;
      const known = jsonPath.includes(key) || key.endsWith(".$");
      this.fault(
        `${path}/${key}`,
        known ? "is a JSONPath field, and this is a JSONata machine" : "is not implemented here",
      );
    }
  }

  /** `outer` are the variables that the enclosing programs assign. A branch can read them, but can't assign them. */
  program(program: Json, path: string, outer: string[] = []): void {
    if (!this.record(program.States, `${path}/States`)) return;
    const { States: states } = program;
    const names = Object.keys(states);
    const leads = new Map<string, string[]>();
    const target = (from: string) => (name: unknown, at: string) => {
      if (typeof name !== "string" || !names.includes(name)) this.fault(at, `there is no state ${String(name)}`);
      else leads.set(from, [...(leads.get(from) ?? []), name]);
    };
    target("")(program.StartAt, `${path}/StartAt`);
    const assigned = [...outer, ...Object.values(states).flatMap(assignedIn)];
    for (const [name, state] of Object.entries(states)) {
      const at = `${path}/States/${name}`;
      if (name.length > 80) this.fault(at, "a name has at most 80 characters");
      if (!this.record(state, at)) continue;
      const shadowed = assignedIn(state).filter((variable) => outer.includes(variable));
      if (shadowed.length > 0) this.fault(at, `assigns ${shadowed.join(", ")}, which an enclosing state assigns`);
      this.state(state, at, target(name), assigned);
    }
    const reached = new Set<string>();
    const visit = (name: string) => {
      reached.add(name);
      for (const next of leads.get(name) ?? []) if (!reached.has(next)) visit(next);
    };
    visit("");
    for (const name of names) if (!reached.has(name)) this.fault(`${path}/States/${name}`, "no state leads here");
  }

  state(state: Json, at: string, target: (name: unknown, at: string) => void, assigned: string[]): void {
    const type = String(state.Type);
    const allowed = Object.hasOwn(fields, type) ? fields[type as State["Type"]] : undefined;
    if (allowed === undefined) return this.fault(`${at}/Type`, `${String(state.Type)} is not a type of state`);
    this.only(state, allowed, at);
    if (state.QueryLanguage !== undefined && state.QueryLanguage !== "JSONata")
      this.fault(`${at}/QueryLanguage`, "only JSONata is implemented here");
    if (allowed.includes("Next")) {
      if ((state.Next === undefined) === (state.End === undefined)) this.fault(at, "needs either Next or End");
      if (state.End !== undefined && state.End !== true) this.fault(`${at}/End`, "must be true");
      if (state.Next !== undefined) target(state.Next, `${at}/Next`);
    }
    for (const field of ["Arguments", "Output", "Items", "ItemSelector", "Error", "Cause"])
      if (state[field] !== undefined) this.expressions(state[field], `${at}/${field}`);
    if (state.Assign !== undefined) this.assign(state.Assign, `${at}/Assign`);
    for (const field of ["TimeoutSeconds", "HeartbeatSeconds", "Seconds", "MaxConcurrency"])
      if (state[field] !== undefined)
        this.seconds(state[field], `${at}/${field}`, field === "Seconds" || field === "MaxConcurrency" ? 0 : 1);
    this.retry(state.Retry, `${at}/Retry`);
    this.catchers(state.Catch, `${at}/Catch`, target);
    this.#byType(state, at, target, assigned);
  }

  #byType(state: Json, at: string, target: (name: unknown, at: string) => void, assigned: string[]): void {
    if (state.Type === "Task") {
      const invokes = String(state.Resource).startsWith("arn:aws:states:::lambda:invoke");
      const named = (state.Arguments as { FunctionName?: unknown } | undefined)?.FunctionName;
      if (invokes && !isExpression(state.Arguments) && typeof named !== "string")
        this.fault(`${at}/Arguments`, "The field 'FunctionName' is required but was missing");
      if (typeof state.Resource !== "string" || !resources.test(state.Resource))
        this.fault(
          `${at}/Resource`,
          `${String(state.Resource)} is not implemented here: use lambda:invoke, with or without waitForTaskToken`,
        );
    } else if (state.Type === "Wait") {
      if ((state.Seconds === undefined) === (state.Timestamp === undefined))
        this.fault(at, "needs either Seconds or Timestamp");
      if (state.Timestamp !== undefined) this.expressions(state.Timestamp, `${at}/Timestamp`);
    } else if (state.Type === "Choice") {
      if (!Array.isArray(state.Choices) || state.Choices.length === 0)
        return this.fault(`${at}/Choices`, "needs at least one rule");
      if (state.Default !== undefined) target(state.Default, `${at}/Default`);
      state.Choices.forEach((rule: unknown, index) => {
        const path = `${at}/Choices/${index}`;
        if (!this.record(rule, path)) return;
        this.only(rule, ["Condition", "Next", "Output", "Assign", "Comment"], path);
        target(rule.Next, `${path}/Next`);
        if (typeof rule.Condition !== "boolean" && !isExpression(rule.Condition))
          this.fault(`${path}/Condition`, "must be {% an expression %}");
        this.expressions(rule.Condition, `${path}/Condition`);
        this.expressions(rule.Output, `${path}/Output`);
        if (rule.Assign !== undefined) this.assign(rule.Assign, `${path}/Assign`);
      });
    } else if (state.Type === "Parallel") {
      if (!Array.isArray(state.Branches) || state.Branches.length === 0)
        return this.fault(`${at}/Branches`, "needs at least one branch");
      state.Branches.forEach((branch: unknown, index) => {
        const path = `${at}/Branches/${index}`;
        if (!this.record(branch, path)) return;
        this.only(branch, ["StartAt", "States", "Comment"], path);
        this.program(branch, path, assigned);
      });
    } else if (state.Type === "Map" && this.record(state.ItemProcessor, `${at}/ItemProcessor`)) {
      const path = `${at}/ItemProcessor`;
      this.only(state.ItemProcessor, ["StartAt", "States", "ProcessorConfig", "Comment"], path);
      const { Mode = "INLINE", ...more } = (state.ItemProcessor.ProcessorConfig ?? {}) as Json;
      if (Mode !== "INLINE" || Object.keys(more).length > 0)
        this.fault(`${path}/ProcessorConfig`, "only INLINE is implemented here");
      this.program(state.ItemProcessor, path, assigned);
    }
  }

  retry(retry: unknown, at: string): void {
    this.#each(retry, at, (retrier, path, last) => {
      this.only(
        retrier,
        [
          "ErrorEquals",
          "IntervalSeconds",
          "MaxAttempts",
          "BackoffRate",
          "MaxDelaySeconds",
          "JitterStrategy",
          "Comment",
        ],
        path,
      );
      this.errorNames(retrier.ErrorEquals, path, last);
      const { IntervalSeconds, MaxAttempts, BackoffRate, MaxDelaySeconds, JitterStrategy } = retrier;
      this.#whole(IntervalSeconds, `${path}/IntervalSeconds`, 1);
      this.#whole(MaxAttempts, `${path}/MaxAttempts`, 0);
      this.#whole(MaxDelaySeconds, `${path}/MaxDelaySeconds`, 1);
      if (BackoffRate !== undefined && !(Number(BackoffRate) >= 1))
        this.fault(`${path}/BackoffRate`, "must be 1 or more");
      if (JitterStrategy !== undefined && JitterStrategy !== "FULL" && JitterStrategy !== "NONE")
        this.fault(`${path}/JitterStrategy`, "must be FULL or NONE");
    });
  }

  catchers(catchers: unknown, at: string, target: (name: unknown, at: string) => void): void {
    this.#each(catchers, at, (catcher, path, last) => {
      this.only(catcher, ["ErrorEquals", "Next", "Output", "Assign", "Comment"], path);
      this.errorNames(catcher.ErrorEquals, path, last);
      target(catcher.Next, `${path}/Next`);
      this.expressions(catcher.Output, `${path}/Output`);
      if (catcher.Assign !== undefined) this.assign(catcher.Assign, `${path}/Assign`);
    });
  }

  #each(list: unknown, at: string, check: (item: Json, path: string, last: boolean) => void): void {
    if (list === undefined) return;
    if (!Array.isArray(list)) return this.fault(at, "must be a list");
    list.forEach((item: unknown, index) => {
      if (this.record(item, `${at}/${index}`)) check(item, `${at}/${index}`, index === list.length - 1);
    });
  }

  errorNames(names: unknown, at: string, last: boolean): void {
    if (!Array.isArray(names) || names.length === 0 || names.some((name) => typeof name !== "string"))
      return this.fault(`${at}/ErrorEquals`, "must be a list of error names");
    if (names.includes("States.ALL") && (names.length > 1 || !last))
      this.fault(`${at}/ErrorEquals`, "States.ALL must be alone, and last");
  }

  /** Checks for a whole number of at least `least`, or an expression. */
  seconds(value: unknown, at: string, least: number): void {
    if (isExpression(value)) this.expressions(value, at);
    else this.#whole(value, at, least);
  }

  #whole(value: unknown, at: string, least: number): void {
    if (
      value !== undefined &&
      (!Number.isInteger(value) || (value as number) < least || (value as number) > 99_999_999)
    )
      this.fault(at, `must be a whole number, ${least} or more`);
  }

  assign(value: unknown, at: string): void {
    if (!this.record(value, at)) return;
    for (const name of Object.keys(value))
      if (!/^[A-Za-z_]\w{0,79}$/.test(name) || name === "states")
        this.fault(`${at}/${name}`, "is not a valid variable name");
    this.expressions(value, at);
  }

  /** Compiles every expression of a template. */
  expressions(value: unknown, at: string): void {
    if (typeof value === "string") {
      const text = value.trim();
      if (!isExpression(value) && (text.startsWith("{%") || text.endsWith("%}")))
        this.fault(at, "an expression must be the whole string, from {% to %}");
      if (!isExpression(value)) return;
      try {
        const expression = jsonata(value.slice(2, -2));
        for (const fault of refusedNames(expression.ast(), { isCatcher: /\/Catch\/\d+\/(Output|Assign)/.test(at) }))
          this.fault(at, fault);
      } catch (error) {
        this.fault(at, `does not compile: ${(error as Error).message}`);
      }
    } else if (Array.isArray(value)) value.forEach((item, index) => this.expressions(item, `${at}/${index}`));
    else if (value !== null && typeof value === "object")
      for (const [key, item] of Object.entries(value)) {
        if (key.endsWith(".$")) this.fault(`${at}/${key}`, "is a JSONPath field, and this is a JSONata machine");
        this.expressions(item, `${at}/${key}`);
      }
  }
}

/** Variables that a state assigns, including its rules and catchers. */
function assignedIn(state: unknown): string[] {
  const { Assign, Choices, Catch } = (state ?? {}) as { Assign?: object; Choices?: unknown; Catch?: unknown };
  const nested = [Choices, Catch].flatMap((list) => (Array.isArray(list) ? list.flatMap(assignedIn) : []));
  return [...Object.keys(Assign ?? {}), ...nested];
}
