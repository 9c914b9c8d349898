/**
 * Asynchronous invocation: Lambda takes an event in and runs the function later. Errors of the function are tried again
 * after one minute and after two more, throttles for hours; then the event goes to the failure destination (Lambda developer
 * guide, "Invoking a Lambda function asynchronously"). EventBridge invokes functions like this.
 */
import { randomUUID } from "node:crypto";
import { wait } from "../../latency.ts";
import type { FunctionError } from "./config.ts";
import type { Invocation } from "./function.ts";

export interface AsyncConfig {
  retries: number;
  maxAgeMs: number;
  /** ARN of a bucket; events that failed for good are lost without one, as on AWS. */
  failureDestination: string | undefined;
}

export const defaultAsync: AsyncConfig = { retries: 2, maxAgeMs: 6 * 3600_000, failureDestination: undefined };

/** Waits before the second and third run. */
export const retryMs = [60_000, 120_000];
const throttleMs = { first: 1000, most: 5 * 60_000 };

/** The function that an event is for. */
interface Target {
  name: string;
  arn: string;
  invoke(event: string, requestId: string): Promise<Invocation>;
}

export interface AsyncPorts {
  isThrottle(error: unknown): boolean;
  /** Writes a failure record to its destination. */
  fail(destination: string, key: string, record: object): void;
  onFault(error: unknown, what: string): void;
  /** Waits between runs, for tests; AWS's own when absent. */
  retryMs?: number[] | undefined;
}

interface Failure {
  condition: "RetriesExhausted" | "EventAgeExceeded";
  count: number;
  error: FunctionError;
}

export class AsyncInvocations {
  readonly #ports: AsyncPorts;
  #stopped = false;

  constructor(ports: AsyncPorts) {
    this.#ports = ports;
  }

  stop(): void {
    this.#stopped = true;
  }

  /** Takes the event in and returns at once. */
  take(fn: Target, event: string, config: AsyncConfig): void {
    void this.#run(fn, event, config).catch((error) => this.#ports.onFault(error, `asynchronous ${fn.name}`));
  }

  async #run(fn: Target, event: string, config: AsyncConfig): Promise<void> {
    const requestId = randomUUID(); // the same for every run
    const began = Date.now();
    const waits = this.#ports.retryMs ?? retryMs;
    let throttles = 0;
    for (let runs = 0; !this.#stopped; ) {
      let result: Invocation;
      try {
        result = await fn.invoke(event, requestId);
      } catch (error) {
        if (!this.#ports.isThrottle(error)) throw error;
        await this.#pause(Math.min(throttleMs.first * 2 ** throttles++, throttleMs.most));
        continue;
      }
      if (!("error" in result) || this.#stopped) return;
      runs++;
      const { error } = result;
      const waitMs = waits[runs - 1] ?? 0;
      if (runs > config.retries)
        return this.#giveUp(fn, event, requestId, config, { condition: "RetriesExhausted", count: runs, error });
      if (Date.now() - began + waitMs > config.maxAgeMs)
        return this.#giveUp(fn, event, requestId, config, { condition: "EventAgeExceeded", count: runs, error });
      await this.#pause(waitMs);
    }
  }

  #giveUp(
    fn: Target,
    event: string,
    requestId: string,
    { failureDestination }: AsyncConfig,
    { condition, count, error }: Failure,
  ): void {
    this.#ports.onFault(`${error.errorType}: ${error.errorMessage}`, `asynchronous ${fn.name} ${condition}`);
    if (failureDestination === undefined) return;
    const timestamp = new Date().toISOString();
    const [day = "", time = ""] = timestamp.split("T");
    const stamp = `${day}T${time.slice(0, 8).replaceAll(":", ".")}`;
    const key = `aws/lambda/async/${fn.name}/${day.replaceAll("-", "/")}/${stamp}-${randomUUID()}`;
    this.#ports.fail(failureDestination, key, {
      version: "1.0",
      timestamp,
      requestContext: {
        requestId,
        functionArn: `${fn.arn}:$LATEST`,
        condition,
        approximateInvokeCount: count,
      },
      requestPayload: JSON.parse(event) as unknown,
      responseContext: { statusCode: 200, executedVersion: "$LATEST", functionError: "Unhandled" },
      responsePayload: error,
    });
  }

  /** In short pieces, so that a cloud that stops need not wait for it. */
  async #pause(ms: number): Promise<void> {
    for (const until = Date.now() + ms; Date.now() < until && !this.#stopped; )
      await wait(Math.min(250, until - Date.now()));
  }
}
