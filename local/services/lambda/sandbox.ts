/** One execution environment: a worker thread that runs one invocation at a time, with only its own environment. */
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import { wait } from "../../latency.ts";
import type { FunctionConfig, FunctionError } from "./config.ts";

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
    try { parentPort.postMessage({ payload: JSON.stringify(await handler(JSON.parse(event), context)) ?? "null" }); }
    catch (e) { parentPort.postMessage({ error: describe(e) }); }
  });`)}`,
);

export type Result = { payload: string } | { error: FunctionError };
type Message = { ready: true } | { failed: FunctionError } | Result;

/** What a sandbox may hold: a small young generation keeps garbage from piling up in every one of them. */
const heap = { maxOldGenerationSizeMb: 128, maxYoungGenerationSizeMb: 8 };

export class Sandbox {
  readonly #worker: Worker;
  readonly #ready: Promise<void>;
  #neverReady: (error: FunctionError) => void = () => {};
  #finish: ((result: Result) => void) | undefined;
  isDead = false;

  constructor(config: FunctionConfig, log: NodeJS.WritableStream) {
    const { name, arn, bundle, environment, memoryMb, coldStartMs } = config;
    this.#worker = new Worker(bootstrap, {
      name,
      workerData: { bundle: pathToFileURL(bundle).href, name, arn, memoryMb },
      execArgv: [],
      stdout: true,
      stderr: true,
      resourceLimits: heap,
      env: {
        ...environment,
        TZ: "UTC",
        AWS_LAMBDA_FUNCTION_NAME: name,
        AWS_LAMBDA_FUNCTION_MEMORY_SIZE: String(memoryMb),
      },
    });
    this.#worker.stdout.pipe(log, { end: false });
    this.#worker.stderr.pipe(log, { end: false });
    const loaded = new Promise<void>((resolve, reject) => {
      this.#neverReady = reject;
      this.#worker.on("message", (message: Message) => {
        if ("ready" in message) resolve();
        else if ("failed" in message) reject(message.failed);
        else this.#finish?.(message);
      });
      this.#worker.on("error", (error) => {
        reject({ errorType: "Runtime.ExitError", errorMessage: String(error), trace: [] });
        this.kill(String(error));
      });
    });
    this.#ready = Promise.all([loaded, wait(coldStartMs)]).then(() => undefined);
    this.#ready.catch(() => this.kill("it did not load"));
    this.#worker.on("exit", () => this.kill("the sandbox ended"));
  }

  /** Runs one invocation, and ends the sandbox with it when it takes longer than `timeoutMs`. */
  async run(id: string, event: string, timeoutMs: number): Promise<Result> {
    try {
      await this.#ready;
    } catch (error) {
      return { error: error as FunctionError };
    }
    if (this.isDead) return exited(id);
    return new Promise<Result>((resolve) => {
      const late = setTimeout(() => {
        const errorMessage = `RequestId: ${id} Error: Task timed out after ${(timeoutMs / 1000).toFixed(2)} seconds`;
        this.#finish?.({ error: { errorType: "Sandbox.Timedout", errorMessage } });
        this.kill("timed out"); // AWS resets the environment, whatever still runs in it
      }, timeoutMs).unref(); // the worker keeps the process running, not the time that is left to it
      this.#finish = (result) => {
        clearTimeout(late);
        this.#finish = undefined;
        resolve(result);
      };
      this.#worker.postMessage({ id, event, deadline: Date.now() + timeoutMs });
    });
  }

  /** Ends the sandbox and what runs in it. */
  kill(why: string): void {
    if (this.isDead) return;
    this.isDead = true;
    this.#neverReady(exited(why).error);
    this.#finish?.(exited(why));
    void this.#worker.terminate();
  }

  async stop(): Promise<void> {
    this.isDead = true; // nobody waits for what still runs
    await this.#worker.terminate();
  }
}

const exited = (why: string): { error: FunctionError } => ({
  error: { errorType: "Runtime.ExitError", errorMessage: `Error: Runtime exited: ${why}` },
});
