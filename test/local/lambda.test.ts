import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { GetFunctionConcurrencyCommand, InvokeCommand, LambdaClient } from "@aws-sdk/client-lambda";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Faults } from "../../local/faults.ts";
import { Lambda } from "../../local/services/lambda/lambda.ts";
import { account, errorName, eventually, startGateway } from "./harness.ts";

const dir = mkdtempSync(path.join(os.tmpdir(), "landfall-lambda-"));
const runs = path.join(dir, "runs");

/** Each bundle notes its runs in a file: a run that was killed leaves its first note only. */
const bundles = {
  sleeper: `let warm = 0;
    export const handler = async ({ ms, name }, context) => {
      appendFileSync(runs, "begin " + name + " " + context.awsRequestId + "\\n");
      await new Promise((done) => setTimeout(done, ms));
      appendFileSync(runs, "end " + name + "\\n");
      return { warm: warm++ };
    };`,
  faulty: `export const handler = async (event, context) => {
      appendFileSync(runs, "begin faulty " + context.awsRequestId + "\\n");
      throw Object.assign(new Error("it does not work"), { name: "Broken" });
    };`,
  spinner: `export const handler = async () => { for (;;) ; };`,
};
type Name = keyof typeof bundles;

let lambda: Lambda;
let gateway: Awaited<ReturnType<typeof startGateway>>;
let client: LambdaClient;
let failures: { destination: string; key: string; record: object }[];
const faults = new Faults();

beforeAll(() => {
  for (const [name, text] of Object.entries(bundles))
    writeFileSync(
      path.join(dir, `${name}.mjs`),
      `import { appendFileSync } from "node:fs"; const runs = ${JSON.stringify(runs)};\n${text}`,
    );
});
afterAll(() => rmSync(dir, { recursive: true }));

beforeEach(async () => {
  writeFileSync(runs, "");
  failures = [];
  lambda = new Lambda({
    faults,
    asyncRetryMs: [100, 200],
    accountConcurrency: 4,
    fail: (destination, key, record) => failures.push({ destination, key, record }),
  });
  for (const name of Object.keys(bundles) as Name[])
    lambda.add({
      name,
      arn: `arn:aws:lambda:us-west-2:${account}:function:${name}`,
      bundle: path.join(dir, `${name}.mjs`),
      environment: {},
      timeoutSeconds: 2,
      memoryMb: 128,
      coldStartMs: 0,
      logFile: path.join(dir, `${name}.log`),
    });
  gateway = await startGateway([lambda.service()]);
  client = new LambdaClient(gateway.client());
});
afterEach(async () => {
  faults.rates.functionKilled = 0;
  faults.rates.functionThrottled = 0;
  client.destroy();
  await gateway.close();
  await lambda.stop();
});

const invoke = async (
  FunctionName: Name,
  payload: object = {},
  InvocationType: "Event" | "RequestResponse" = "RequestResponse",
) => {
  const { StatusCode, FunctionError, Payload } = await client.send(
    new InvokeCommand({ FunctionName, Payload: JSON.stringify(payload), InvocationType }),
  );
  const text = Buffer.from(Payload ?? []).toString();
  return {
    StatusCode,
    FunctionError,
    payload: text === "" ? undefined : (JSON.parse(text) as Record<string, unknown>),
  };
};
const sleep = (ms: number, name = "one") => invoke("sleeper", { ms, name });
const notes = () => readFileSync(runs, "utf8").trim().split("\n").filter(Boolean);
const begun = (count: number) =>
  eventually(
    () => notes().filter((note) => note.startsWith("begin")).length,
    (n) => n >= count,
  );

describe("Lambda", () => {
  it("runs one request in a sandbox at a time, and others beside it in sandboxes of their own (developer guide, Function scaling)", async () => {
    const answers = await Promise.all([sleep(300, "a"), sleep(300, "b"), sleep(300, "c")]);
    expect(answers.map(({ payload }) => payload?.warm)).toEqual([0, 0, 0]);
    expect(
      notes()
        .slice(0, 3)
        .every((note) => note.startsWith("begin")),
    ).toBe(true);
    expect((await sleep(0)).payload?.warm).toBe(1);
  });

  it("answers 429 above the account's concurrency (API reference, Invoke, TooManyRequestsException)", async () => {
    const running = Array.from({ length: 4 }, () => sleep(600));
    await begun(4);
    const refused = await sleep(0).then(
      () => undefined,
      (error: Error & { Reason?: string; $metadata: { httpStatusCode?: number } }) => error,
    );
    expect(refused).toMatchObject({
      name: "TooManyRequestsException",
      Reason: "ConcurrentInvocationLimitExceeded",
      $metadata: { httpStatusCode: 429 },
    });
    await Promise.all(running);
    expect((await sleep(0)).StatusCode).toBe(200);
  });

  it("keeps a reservation free for its function, and lets the function have no more (developer guide, Reserved concurrency)", async () => {
    lambda.get("sleeper").config.reservedConcurrency = 1;
    expect(await client.send(new GetFunctionConcurrencyCommand({ FunctionName: "sleeper" }))).toMatchObject({
      ReservedConcurrentExecutions: 1,
    });
    const running = sleep(400);
    await begun(1);
    expect(await errorName(sleep(0))).toBe("TooManyRequestsException");
    await running;
    lambda.get("sleeper").config.reservedConcurrency = 4;
    expect(await errorName(invoke("faulty"))).toBe("TooManyRequestsException");
    expect((await sleep(0)).StatusCode).toBe(200);
  });

  it("kills a function in the middle when its time is over, and starts a new sandbox for the next request (developer guide, Timeout)", async () => {
    const late = await sleep(5000, "late");
    expect(late.FunctionError).toBe("Unhandled");
    expect(late.payload?.errorMessage).toMatch(/Task timed out after 2\.00 seconds$/);
    expect((await sleep(0, "next")).payload?.warm).toBe(0);
    expect(notes().map((note) => note.split(" ").slice(0, 2).join(" "))).toEqual([
      "begin late",
      "begin next",
      "end next",
    ]);
  });

  it("kills a function that never yields, too", async () => {
    expect((await invoke("spinner")).payload?.errorMessage).toMatch(/Task timed out/);
    expect((await sleep(0)).StatusCode).toBe(200);
  });

  it("takes an asynchronous event in at once, and runs it three times in all when it fails, with one request id (developer guide, Asynchronous invocation)", async () => {
    lambda.configureAsync("faulty", { failureDestination: "arn:aws:s3:::failures" });
    expect(await invoke("faulty", { number: 7 }, "Event")).toMatchObject({ StatusCode: 202, payload: undefined });
    const [failure] = await eventually(
      () => failures,
      ({ length }) => length === 1,
    );
    expect(notes()).toHaveLength(3);
    expect(new Set(notes()).size).toBe(1);
    expect(failure).toMatchObject({
      destination: "arn:aws:s3:::failures",
      key: expect.stringMatching(/^aws\/lambda\/async\/faulty\/\d{4}\/\d\d\/\d\d\//) as string,
      record: {
        requestContext: { condition: "RetriesExhausted", approximateInvokeCount: 3 },
        requestPayload: { number: 7 },
        responsePayload: { errorType: "Broken", errorMessage: "it does not work" },
      },
    });
  });

  it("waits one minute before the second run and two before the third (developer guide, Asynchronous invocation)", async () => {
    const { retryMs } = await import("../../local/services/lambda/asynchronous.ts");
    expect(retryMs).toEqual([60_000, 120_000]);
  });

  it("runs an asynchronous event later when it was throttled, and counts that as no run", async () => {
    const running = Array.from({ length: 4 }, () => sleep(1500));
    await begun(4);
    await invoke("sleeper", { ms: 0, name: "throttled" }, "Event");
    await Promise.all(running);
    expect(notes().some((note) => note.includes("throttled"))).toBe(false);
    await eventually(notes, (all) => all.includes("end throttled"));
  });

  it("kills and throttles at the rates that were set", async () => {
    faults.rates.functionKilled = 1;
    expect((await sleep(1000)).payload?.errorType).toBe("Runtime.ExitError");
    faults.rates.functionKilled = 0;
    faults.rates.functionThrottled = 1;
    expect(await errorName(sleep(0))).toBe("TooManyRequestsException");
  });
});
