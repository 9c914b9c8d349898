import {
  CreateStateMachineCommand,
  DescribeExecutionCommand,
  GetExecutionHistoryCommand,
  ListExecutionsCommand,
  SendTaskFailureCommand,
  SendTaskHeartbeatCommand,
  SendTaskSuccessCommand,
  SFNClient,
  StartExecutionCommand,
  StopExecutionCommand,
} from "@aws-sdk/client-sfn";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { StatesError } from "../../local/services/states/expressions.ts";
import { Retries } from "../../local/services/states/retries.ts";
import { States } from "../../local/services/states/states.ts";
import { account, errorName, eventually, startGateway } from "./harness.ts";

/** Functions by name. */
const tokens: string[] = [];
let flaky = 0;
const functions: Record<string, (payload: never) => unknown> = {
  echo: (payload) => payload,
  add: ({ a, b }: { a: number; b: number }) => a + b,
  take: ({ token }: { token: string }) => void tokens.push(token),
  full: () => {
    throw new StatesError("CellFullError", "no slot");
  },
  flaky: () => {
    if (flaky-- > 0) throw new StatesError("Flaky", "again");
    return "at last";
  },
  slow: () => new Promise(() => {}),
};
const states = new States({
  account,
  transitionMs: 0,
  invoke: async (_role, name, payload) => functions[name.split(":").at(-1)!]!(payload as never),
});
let gateway: Awaited<ReturnType<typeof startGateway>>;
let client: SFNClient;
let made = 0;

const create = async (definition: object) =>
  (
    await client.send(
      new CreateStateMachineCommand({
        name: `machine-${made++}`,
        roleArn: `arn:aws:iam::${account}:role/r`,
        definition: JSON.stringify({ QueryLanguage: "JSONata", ...definition }),
      }),
    )
  ).stateMachineArn!;
const start = async (stateMachineArn: string, input: unknown = {}) =>
  (await client.send(new StartExecutionCommand({ stateMachineArn, input: JSON.stringify(input) }))).executionArn!;
const ended = (executionArn: string) =>
  eventually(
    () => client.send(new DescribeExecutionCommand({ executionArn })),
    ({ status }) => status !== "RUNNING",
  );

/** Runs a machine of these states to its end. */
async function run(States: Record<string, object>, input: unknown = {}, more: object = {}) {
  const arn = await create({ StartAt: Object.keys(States)[0], States, ...more });
  const { status, output, error, cause } = await ended(await start(arn, input));
  return { status, error, cause, output: output === undefined ? undefined : (JSON.parse(output) as unknown) };
}
const invoke = (name: string, Payload: unknown = "{% $states.input %}", more: object = {}) => ({
  Type: "Task",
  Resource: "arn:aws:states:::lambda:invoke",
  Arguments: { FunctionName: name, Payload },
  Output: "{% $states.result.Payload %}",
  ...more,
});
const refusal = async (definition: object) => {
  try {
    await create(definition);
    return "";
  } catch (error) {
    expect((error as Error).name).toBe("InvalidDefinition");
    return (error as Error).message;
  }
};

beforeAll(async () => {
  gateway = await startGateway([states.service()]);
  client = new SFNClient(gateway.client());
});
afterAll(async () => {
  states.stop();
  client.destroy();
  await gateway.close();
});

describe("Step Functions", () => {
  it("runs Pass, Task, Choice and Succeed, with Assign, Output and the context", async () => {
    const result = await run(
      {
        Start: {
          Type: "Pass",
          Assign: { base: "{% $states.input.n * 10 %}" },
          Output: { n: "{% $states.input.n %}" },
          Next: "Add",
        },
        Add: invoke("add", { a: "{% $states.input.n %}", b: "{% $base %}" }, { Next: "Big" }),
        Big: {
          Type: "Choice",
          Choices: [
            {
              Condition: "{% $states.input > 20 %}",
              Next: "Yes",
              Output: { sum: "{% $states.input %}", who: "{% $states.context.State.Name %}" },
            },
          ],
          Default: "No",
        },
        Yes: { Type: "Succeed" },
        No: { Type: "Fail", Error: "Small", Cause: "{% 'only ' & $string($states.input) %}" },
      },
      { n: 2 },
    );
    expect(result).toMatchObject({ status: "SUCCEEDED", output: { sum: 22, who: "Big" } });
    const small = await run(
      { No: { Type: "Fail", Error: "Small", Cause: "{% 'only ' & $string($states.input.n) %}" } },
      { n: 1 },
    );
    expect(small).toMatchObject({ status: "FAILED", error: "Small", cause: "only 1" });
  });

  it("lets Output see the variables from before Assign", async () => {
    const states = {
      P: { Type: "Pass", Assign: { x: 1 }, Next: "Q" },
      Q: { Type: "Pass", Assign: { x: 2 }, Output: "{% $x %}", Next: "R" },
      R: { Type: "Pass", Output: { before: "{% $states.input %}", after: "{% $x %}" }, End: true },
    };
    expect((await run(states)).output).toEqual({ before: 1, after: 2 });
  });

  it("catches a function's error by its name, with the error's output", async () => {
    const result = await run({
      Admit: invoke(
        "full",
        {},
        {
          Catch: [
            { ErrorEquals: ["CellFullError"], Next: "Pending", Assign: { why: "{% $states.errorOutput.Cause %}" } },
          ],
          End: true,
        },
      ),
      Pending: { Type: "Pass", Output: { error: "{% $states.input.Error %}", why: "{% $why %}" }, End: true },
    });
    expect(result.output).toEqual({ error: "CellFullError", why: "no slot" });
    expect(
      await run({
        Admit: invoke("full", {}, { Catch: [{ ErrorEquals: ["Other"], Next: "X" }], End: true }),
        X: { Type: "Succeed" },
      }),
    ).toMatchObject({ status: "FAILED", error: "CellFullError" });
  });

  it("retries, and counts attempts", async () => {
    flaky = 2;
    const retry = {
      Retry: [
        { ErrorEquals: ["States.ALL"], IntervalSeconds: 1, MaxAttempts: 2, BackoffRate: 1, JitterStrategy: "FULL" },
      ],
      End: true,
    };
    expect((await run({ T: invoke("flaky", {}, retry) })).output).toBe("at last");
    flaky = 9;
    expect(
      await run({ T: invoke("flaky", {}, { Retry: [{ ErrorEquals: ["Flaky"], MaxAttempts: 0 }], End: true }) }),
    ).toMatchObject({ status: "FAILED", error: "Flaky" });
  });

  it("runs Map over items and Parallel branches, each with variables of its own", async () => {
    const result = await run(
      {
        Set: { Type: "Pass", Assign: { k: 1 }, Next: "Each" },
        Each: {
          Type: "Map",
          Items: "{% $states.input.items %}",
          ItemSelector: { v: "{% $states.context.Map.Item.Value %}", i: "{% $states.context.Map.Item.Index %}" },
          ItemProcessor: {
            StartAt: "Inner",
            States: {
              Inner: { Type: "Pass", Assign: { mine: "{% $states.input.v %}" }, Next: "Use" },
              Use: { Type: "Pass", Output: "{% $mine * $k + $states.input.i %}", End: true },
            },
          },
          Next: "Both",
        },
        Both: {
          Type: "Parallel",
          Branches: [
            { StartAt: "Sum", States: { Sum: { Type: "Pass", Output: "{% $sum($states.input) %}", End: true } } },
            { StartAt: "Count", States: { Count: { Type: "Pass", Output: "{% $count($states.input) %}", End: true } } },
          ],
          End: true,
        },
      },
      { items: [10, 20, 30] },
    );
    expect(result.output).toEqual([63, 3]);
  });

  it("fails the whole state when a branch fails, and accepts an empty Map", async () => {
    const branch = (name: string) => ({ StartAt: name, States: { [name]: { ...invoke("full"), End: true } } });
    expect(
      await run({
        P: {
          Type: "Parallel",
          Branches: [branch("A"), { StartAt: "W", States: { W: { Type: "Wait", Seconds: 60, End: true } } }],
          End: true,
        },
      }),
    ).toMatchObject({ status: "FAILED", error: "CellFullError" });
    expect((await run({ M: { Type: "Map", Items: [], ItemProcessor: branch("A"), End: true } })).output).toEqual([]);
  });

  const waiting = (more: object) => ({
    Wait: {
      Type: "Task",
      Resource: "arn:aws:states:::lambda:invoke.waitForTaskToken",
      Arguments: { FunctionName: "take", Payload: { token: "{% $states.context.Task.Token %}" } },
      ...more,
    },
    Caught: { Type: "Pass", Output: "{% $states.input.Error %}", End: true },
  });
  const caught = { Catch: [{ ErrorEquals: ["States.ALL"], Next: "Caught" }], End: true };

  it("waits for a task's token, and takes its output or its error", async () => {
    const arn = await create({ StartAt: "Wait", States: waiting(caught) });
    tokens.length = 0;
    const good = await start(arn);
    const [token] = await eventually(
      () => tokens,
      (list) => list.length === 1,
    );
    await client.send(new SendTaskSuccessCommand({ taskToken: token, output: '{"ok":true}' }));
    expect((await ended(good)).output).toBe('{"ok":true}');
    expect(await errorName(client.send(new SendTaskSuccessCommand({ taskToken: token, output: "{}" })))).toBe(
      "TaskTimedOut",
    );
    const bad = await start(arn);
    const [, second] = await eventually(
      () => tokens,
      (list) => list.length === 2,
    );
    await client.send(new SendTaskFailureCommand({ taskToken: second, error: "Nacked", cause: "no" }));
    expect((await ended(bad)).output).toBe('"Nacked"');
  });

  it("times out with States.Timeout, or with States.HeartbeatTimeout if no heartbeat arrives", async () => {
    expect((await run(waiting({ ...caught, TimeoutSeconds: 1 }))).output).toBe("States.Timeout");
    expect((await run(waiting({ ...caught, HeartbeatSeconds: 1 }))).output).toBe("States.HeartbeatTimeout");
    tokens.length = 0;
    const beating = await start(
      await create({ StartAt: "Wait", States: waiting({ ...caught, HeartbeatSeconds: 1, TimeoutSeconds: 3 }) }),
    );
    const [taskToken] = await eventually(
      () => tokens,
      (list) => list.length === 1,
    );
    const beat = setInterval(() => void client.send(new SendTaskHeartbeatCommand({ taskToken })).catch(() => {}), 200);
    expect((await ended(beating)).output).toBe('"States.Timeout"');
    clearInterval(beat);
    expect(await run({ T: invoke("slow", {}, { TimeoutSeconds: 1, End: true }) })).toMatchObject({
      status: "FAILED",
      error: "States.Timeout",
    });
  });

  it("ends an execution that takes too long, and one that is stopped", async () => {
    expect(await run({ W: { Type: "Wait", Seconds: 60, End: true } }, {}, { TimeoutSeconds: 1 })).toMatchObject({
      status: "TIMED_OUT",
    });
    const stopped = await start(
      await create({ StartAt: "W", States: { W: { Type: "Wait", Seconds: 60, End: true } } }),
    );
    await client.send(new StopExecutionCommand({ executionArn: stopped, error: "Why", cause: "because" }));
    expect(await ended(stopped)).toMatchObject({ status: "ABORTED", error: "Why", cause: "because" });
  });

  it("names failures of expressions, choices and sizes as AWS does", async () => {
    expect(await run({ P: { Type: "Pass", Output: "{% $states.input.missing %}", End: true } })).toMatchObject({
      error: "States.QueryEvaluationError",
    });
    expect(
      await run({ C: { Type: "Choice", Choices: [{ Condition: "{% false %}", Next: "S" }] }, S: { Type: "Succeed" } }),
    ).toMatchObject({ error: "States.NoChoiceMatched" });
    expect(await run({ P: { Type: "Pass", Output: "{% $pad('', 270000, 'x') %}", End: true } })).toMatchObject({
      error: "States.DataLimitExceeded",
    });
  });

  it("stops an endless expression, and other executions go on", async () => {
    const endless = "{% ($f := function($x) { $f($x + 1) }; $f(1)) %}";
    const running = run({ P: { Type: "Pass", Output: endless, End: true } });
    expect(await run({ P: { Type: "Pass", Output: 1, End: true } })).toMatchObject({ status: "SUCCEEDED" });
    expect(await running).toMatchObject({ status: "FAILED", error: "States.QueryEvaluationError" });
    const deep = "{% ($f := function($x) { 1 + $f($x + 1) }; $f(1)) %}";
    expect(await run({ P: { Type: "Pass", Output: deep, End: true } })).toMatchObject({
      error: "States.QueryEvaluationError",
      cause: expect.stringContaining("Stack overflow"),
    });
    expect(await run({ P: { Type: "Pass", Output: "{% $range(1, 1000000000) %}", End: true } })).toMatchObject({
      error: "States.QueryEvaluationError",
    });
  }, 60_000);

  it("takes names inside a predicate, a function and a later step of a path, and errorOutput inside a Catch (developer guide, Transforming data with JSONata)", async () => {
    const Catch = [{ ErrorEquals: ["States.ALL"], Output: "{% $states.errorOutput.Error %}", Next: "C" }];
    const { output } = await run(
      {
        A: {
          Type: "Pass",
          Output: {
            open: "{% $states.input[state = 'open'].{'id': id} %}",
            sum: "{% $sum($map($states.input, function($v) { $v.id })) %}",
          },
          Next: "B",
        },
        B: { ...invoke("full"), Catch, End: true },
        C: { Type: "Pass", End: true },
      },
      [
        { id: 1, state: "open" },
        { id: 2, state: "shut" },
      ],
    );
    expect(output).toBe("CellFullError");
  });

  it("gives the same random number for the same seed, and others without one (developer guide, JSONata functions provided by Step Functions)", async () => {
    const { output } = await run({
      A: {
        Type: "Pass",
        Output: ["{% $random(7) %}", "{% $random(7) %}", "{% $random(8) %}", "{% $random() %}", "{% $random() %}"],
        End: true,
      },
    });
    const [one, again, other, free, another] = output as number[];
    expect(again).toBe(one);
    expect(other).not.toBe(one);
    expect(another).not.toBe(free);
    for (const number of output as number[]) expect(number >= 0 && number < 1).toBe(true);
  });

  it("can wait for months", async () => {
    const arn = await create({
      StartAt: "W",
      TimeoutSeconds: 99_999_999,
      States: { W: { Type: "Wait", Seconds: 2_592_000, End: true } },
    });
    const executionArn = await start(arn);
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect((await client.send(new DescribeExecutionCommand({ executionArn }))).status).toBe("RUNNING");
    await client.send(new StopExecutionCommand({ executionArn }));
  });

  it("starts only one execution for each name", async () => {
    const arn = await create({ StartAt: "W", States: { W: { Type: "Wait", Seconds: 1, End: true } } });
    const once = (input: string) =>
      client.send(new StartExecutionCommand({ stateMachineArn: arn, name: "batch-1", input }));
    const first = await once("{}");
    expect((await once("{}")).executionArn).toBe(first.executionArn);
    expect(await errorName(once('{"other":1}'))).toBe("ExecutionAlreadyExists");
    await ended(first.executionArn!);
    expect(await errorName(once("{}"))).toBe("ExecutionAlreadyExists");
  });

  it("returns an execution's history in pages and in reverse", async () => {
    const arn = await create({ StartAt: "A", States: { A: { Type: "Pass", Next: "B" }, B: { Type: "Succeed" } } });
    const executionArn = await start(arn, { x: 1 });
    await ended(executionArn);
    const page = await client.send(new GetExecutionHistoryCommand({ executionArn, maxResults: 2 }));
    const rest = await client.send(new GetExecutionHistoryCommand({ executionArn, nextToken: page.nextToken }));
    expect([...page.events!, ...rest.events!].map(({ type }) => type)).toEqual([
      "ExecutionStarted",
      "PassStateEntered",
      "PassStateExited",
      "SucceedStateEntered",
      "SucceedStateExited",
      "ExecutionSucceeded",
    ]);
    const back = await client.send(new GetExecutionHistoryCommand({ executionArn, reverseOrder: true, maxResults: 1 }));
    expect(back.events?.[0]?.type).toBe("ExecutionSucceeded");
    expect(
      (await client.send(new ListExecutionsCommand({ stateMachineArn: arn, statusFilter: "SUCCEEDED" }))).executions,
    ).toHaveLength(1);
  });

  const pass = { Type: "Pass", End: true };
  it.each<[string, object, RegExp]>([
    [
      "a dangling Next",
      { StartAt: "A", States: { A: { Type: "Pass", Next: "B" } } },
      /\/States\/A\/Next: there is no state B/,
    ],
    ["a missing start", { StartAt: "X", States: { A: pass } }, /\/StartAt: there is no state X/],
    [
      "a state that nothing leads to",
      { StartAt: "A", States: { A: pass, B: pass } },
      /\/States\/B: no state leads here/,
    ],
    [
      "a JSONPath field",
      { StartAt: "A", States: { A: { ...pass, ResultPath: "$.x" } } },
      /ResultPath: is a JSONPath field/,
    ],
    [
      "a JSONPath template",
      { StartAt: "A", States: { A: { ...pass, Output: { "x.$": "$.x" } } } },
      /x\.\$: is a JSONPath field/,
    ],
    [
      "a field that is not implemented",
      { StartAt: "A", States: { A: { ...pass, Credentials: {} } } },
      /Credentials: is not implemented here/,
    ],
    [
      "a field of another state type",
      { StartAt: "A", States: { A: { Type: "Succeed", Next: "A" } } },
      /Next: is not implemented/,
    ],
    [
      "an expression that does not compile",
      { StartAt: "A", States: { A: { ...pass, Output: "{% $sum( %}" } } },
      /does not compile/,
    ],
    [
      "a fractional interval",
      {
        StartAt: "A",
        States: { A: { ...invoke("echo"), End: true, Retry: [{ ErrorEquals: ["X"], IntervalSeconds: 0.5 }] } },
      },
      /IntervalSeconds: must be a whole number/,
    ],
    [
      "States.ALL beside other errors",
      { StartAt: "A", States: { A: { ...invoke("echo"), End: true, Retry: [{ ErrorEquals: ["States.ALL", "X"] }] } } },
      /States\.ALL must be alone/,
    ],
    [
      "an integration that is not implemented",
      { StartAt: "A", States: { A: { Type: "Task", Resource: "arn:aws:states:::sqs:sendMessage", End: true } } },
      /sqs:sendMessage is not implemented here/,
    ],
    [
      "a distributed Map",
      {
        StartAt: "A",
        States: {
          A: {
            Type: "Map",
            ItemProcessor: { ProcessorConfig: { Mode: "DISTRIBUTED" }, StartAt: "B", States: { B: pass } },
            End: true,
          },
        },
      },
      /only INLINE/,
    ],
    [
      "an expression that is not closed",
      { StartAt: "A", States: { A: { ...pass, Output: "{% $x" } } },
      /the whole string/,
    ],
    [
      "states that only lead to each other",
      { StartAt: "A", States: { A: pass, B: { Type: "Pass", Next: "C" }, C: { Type: "Pass", Next: "B" } } },
      /\/States\/B: no state leads here/,
    ],
    [
      "a branch that assigns a variable of the states around it",
      {
        StartAt: "A",
        States: {
          A: { Type: "Pass", Assign: { x: 1 }, Next: "P" },
          P: {
            Type: "Parallel",
            Branches: [{ StartAt: "B", States: { B: { ...pass, Assign: { x: 2 } } } }],
            End: true,
          },
        },
      },
      /assigns x, which an enclosing state assigns/,
    ],
    [
      "a type named like a built-in object property",
      { StartAt: "A", States: { A: { Type: "toString", End: true } } },
      /is not a type of state/,
    ],
    [
      "a bare name at the top of an expression",
      { StartAt: "A", States: { A: { ...pass, Output: "{% input.x %}" } } },
      /Reference to 'input' at the top level is not supported/,
    ],
    [
      "a bare name in an argument",
      { StartAt: "A", States: { A: { ...pass, Output: "{% $sum(numbers) %}" } } },
      /Reference to 'numbers' at the top level is not supported/,
    ],
    [
      "$$, the root of an expression's input",
      { StartAt: "A", States: { A: { ...pass, Output: "{% $$.x %}" } } },
      /Reference to '\$\$' is not supported/,
    ],
    [
      "$ at the top level",
      { StartAt: "A", States: { A: { ...pass, Output: "{% $.x %}" } } },
      /Reference to '\$' at the top level/,
    ],
    ["$eval", { StartAt: "A", States: { A: { ...pass, Output: "{% $eval('1') %}" } } }, /\$eval is not supported/],
    [
      "$states.errorOutput outside a Catch",
      { StartAt: "A", States: { A: { ...pass, Output: "{% $states.errorOutput %}" } } },
      /errorOutput is available in the Output and Assign of a Catch only/,
    ],
    [
      "lambda:invoke without FunctionName",
      {
        StartAt: "A",
        States: {
          A: { Type: "Task", Resource: "arn:aws:states:::lambda:invoke", Arguments: { Payload: {} }, End: true },
        },
      },
      /FunctionName/,
    ],
    ["neither Next nor End", { StartAt: "A", States: { A: { Type: "Pass" } } }, /needs either Next or End/],
    ["JSONPath as the language", { QueryLanguage: "JSONPath", StartAt: "A", States: { A: pass } }, /only JSONata/],
  ])(
    "refuses %s when a machine is created (developer guide, Transforming data; API reference, CreateStateMachine)",
    async (_, definition, reason) => {
      expect(await refusal(definition)).toMatch(reason);
    },
  );
});

describe("Retries", () => {
  it("backs off from the interval up to the maximum delay", () => {
    const retries = new Retries([
      { ErrorEquals: ["X"], IntervalSeconds: 2, BackoffRate: 3, MaxAttempts: 4, MaxDelaySeconds: 20 },
    ]);
    expect([1, 2, 3, 4, 5].map(() => retries.next("X"))).toEqual([2000, 6000, 18_000, 20_000, undefined]);
  });

  it("counts each retrier separately, and uses the first that matches", () => {
    const retries = new Retries([
      { ErrorEquals: ["X"], MaxAttempts: 1 },
      { ErrorEquals: ["States.ALL"], MaxAttempts: 1 },
    ]);
    expect([retries.next("X"), retries.next("X"), retries.next("Y"), retries.next("Y")]).toEqual([
      1000,
      undefined,
      1000,
      undefined,
    ]);
  });

  it("does not match a wildcard to an error that a retry cannot fix", () => {
    const retries = new Retries([{ ErrorEquals: ["States.ALL"] }]);
    expect(retries.next("States.DataLimitExceeded")).toBeUndefined();
  });
});
