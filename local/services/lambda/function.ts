/** Runs the bundle of one Lambda function in a worker thread, with only its own environment and credentials. */
import { randomUUID } from "node:crypto";
import { createWriteStream, type WriteStream } from "node:fs";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import { wait } from "../../latency.ts";

export interface FunctionConfig {
  name: string;
  arn: string;
  /** Bundle file, ESM, with an export `handler`. */
  bundle: string;
  environment: Record<string, string>;
  timeoutSeconds: number;
  memoryMb: number;
  coldStartMs: number;
  logFile: string;
}

export interface FunctionError {
  errorType: string;
  errorMessage: string;
  trace: string[];
}
export type Invocation = { payload: string; requestId: string } | { error: FunctionError; requestId: string };

const bootstrap = new URL(
  `data:text/javascript,${encodeURIComponent(`
  import { parentPort, workerData } from "node:worker_threads";
  const describe = (e) => ({ errorType: e?.name ?? "Error", errorMessage: String(e?.message ?? e), trace: String(e?.stack ?? "").split("\\n") });
  let handler;
  try { ({ handler } = await import(workerData.bundle)); parentPort.postMessage({ ready: true }); }
  catch (e) { parentPort.postMessage({ failed: describe(e) }); }
  parentPort.on("message", async ({ id, event, deadline }) => {
    const context = { awsRequestId: id, functionName: workerData.name, functionVersion: "$LATEST", invokedFunctionArn: workerData.arn,
      memoryLimitInMB: String(workerData.memoryMb), logGroupName: "/aws/lambda/" + workerData.name, logStreamName: "local",
      callbackWaitsForEmptyEventLoop: false, getRemainingTimeInMillis: () => deadline - Date.now() };
    try { parentPort.postMessage({ id, payload: JSON.stringify(await handler(JSON.parse(event), context)) ?? "null" }); }
    catch (e) { parentPort.postMessage({ id, error: describe(e) }); }
  });`)}`,
);

type Message =
  | { ready: true }
  | { failed: FunctionError }
  | { id: string; payload: string }
  | { id: string; error: FunctionError };

interface Sandbox {
  worker: Worker;
  ready: Promise<void>;
  running: Map<string, (result: { payload: string } | { error: FunctionError }) => void>;
}

export class LambdaFunction {
  readonly config: FunctionConfig;
  #sandbox: Sandbox | undefined;
  #log: WriteStream | undefined;

  constructor(config: FunctionConfig) {
    this.config = config;
  }

  /** Runs the handler on an event's JSON. Invocations of one function share its sandbox. */
  async invoke(event: string): Promise<Invocation> {
    const requestId = randomUUID();
    const sandbox = this.#sandbox ?? this.#start();
    try {
      await sandbox.ready;
    } catch (error) {
      return { error: error as FunctionError, requestId };
    }
    const { timeoutSeconds } = this.config;
    const deadline = Date.now() + timeoutSeconds * 1000;
    const began = performance.now();
    const result = await new Promise<{ payload: string } | { error: FunctionError }>((resolve) => {
      const late = setTimeout(() => {
        const errorMessage = `${requestId} Task timed out after ${timeoutSeconds.toFixed(2)} seconds`;
        resolve({ error: { errorType: "Sandbox.Timedout", errorMessage, trace: [] } });
        this.#drop(sandbox); // AWS ends the sandbox, even if it still works
      }, timeoutSeconds * 1000);
      sandbox.running.set(requestId, (outcome) => {
        clearTimeout(late);
        resolve(outcome);
      });
      sandbox.worker.postMessage({ id: requestId, event, deadline });
    });
    sandbox.running.delete(requestId);
    this.#log?.write(`REPORT RequestId: ${requestId}\tDuration: ${(performance.now() - began).toFixed(2)} ms\n`);
    return { ...result, requestId };
  }

  async stop(): Promise<void> {
    await this.#sandbox?.worker.terminate();
    this.#log?.end();
  }

  #start(): Sandbox {
    const { name, arn, bundle, environment, memoryMb, coldStartMs } = this.config;
    const worker = new Worker(bootstrap, {
      name,
      workerData: { bundle: pathToFileURL(bundle).href, name, arn, memoryMb },
      execArgv: [],
      stdout: true,
      stderr: true,
      resourceLimits: { maxOldGenerationSizeMb: 256 },
      env: {
        ...environment,
        TZ: "UTC",
        AWS_LAMBDA_FUNCTION_NAME: name,
        AWS_LAMBDA_FUNCTION_MEMORY_SIZE: String(memoryMb),
      },
    });
    this.#log ??= createWriteStream(this.config.logFile, { flags: "a" });
    worker.stdout.pipe(this.#log, { end: false });
    worker.stderr.pipe(this.#log, { end: false });
    const running: Sandbox["running"] = new Map();
    const loaded = new Promise<void>((resolve, reject) => {
      worker.on("message", (message: Message) => {
        if ("ready" in message) resolve();
        else if ("failed" in message) reject(message.failed);
        else running.get(message.id)?.(message);
      });
      worker.on("error", (error) => reject({ errorType: "Runtime.ExitError", errorMessage: String(error), trace: [] }));
    });
    const sandbox: Sandbox = { worker, running, ready: Promise.all([loaded, wait(coldStartMs)]).then(() => undefined) };
    sandbox.ready.catch(() => this.#drop(sandbox));
    worker.on("exit", () => this.#drop(sandbox));
    this.#sandbox = sandbox;
    return sandbox;
  }

  /** Ends a sandbox and its running invocations. The next invocation starts another sandbox. */
  #drop(sandbox: Sandbox): void {
    if (this.#sandbox === sandbox) this.#sandbox = undefined;
    for (const end of sandbox.running.values())
      end({ error: { errorType: "Runtime.ExitError", errorMessage: "the sandbox ended", trace: [] } });
    sandbox.running.clear();
    void sandbox.worker.terminate();
  }
}
