/** Lambda: the functions of the lock, invoked by name or ARN, with AWS's concurrency. */
import * as sdk from "@aws-sdk/client-lambda";
import { Faults } from "../../faults.ts";
import { service } from "../../gateway/service.ts";
import { isJson } from "../../json.ts";
import { type AsyncConfig, AsyncInvocations, defaultAsync } from "./asynchronous.ts";
import type { FunctionConfig } from "./config.ts";
import { type Invocation, LambdaFunction } from "./function.ts";

/** Invocations of the account at the same time, as AWS gives to a new account (1,000 later); each takes about 50 MB here. */
const accountConcurrency = 10;

export interface LambdaOptions {
  faults?: Faults;
  /** Writes a record of a failed asynchronous invocation to a bucket. */
  fail?: (destination: string, key: string, record: object) => void;
  onFault?: (error: unknown, what: string) => void;
  /** Waits between asynchronous runs; AWS's own when absent. */
  asyncRetryMs?: number[] | undefined;
  accountConcurrency?: number;
}

export class Lambda {
  readonly #functions = new Map<string, LambdaFunction>();
  readonly #asyncConfigs = new Map<string, AsyncConfig>();
  readonly #faults: Faults;
  readonly #async: AsyncInvocations;
  readonly #concurrency: number;

  constructor({ faults = new Faults(), fail = () => {}, onFault = () => {}, ...options }: LambdaOptions = {}) {
    this.#faults = faults;
    this.#concurrency = options.accountConcurrency ?? accountConcurrency;
    const isThrottle = (error: unknown) => error instanceof sdk.TooManyRequestsException;
    this.#async = new AsyncInvocations({ isThrottle, fail, onFault, retryMs: options.asyncRetryMs });
  }

  add(config: FunctionConfig): void {
    this.#functions.set(config.name, new LambdaFunction(config, this.#faults));
  }

  /** What becomes of asynchronous events that fail. */
  configureAsync(name: string, config: Partial<AsyncConfig>): void {
    this.#asyncConfigs.set(this.get(name).config.name, { ...defaultAsync, ...config });
  }

  /** By name, or by an ARN with or without a qualifier. */
  find(nameOrArn: string): LambdaFunction | undefined {
    return this.#functions.get(/:function:([^:]+)/.exec(nameOrArn)?.[1] ?? nameOrArn);
  }

  /** @throws ResourceNotFoundException */
  get(nameOrArn: string): LambdaFunction {
    const found = this.find(nameOrArn);
    if (found === undefined)
      throw new sdk.ResourceNotFoundException({
        Type: "User",
        message: `Function not found: ${nameOrArn}`,
        $metadata: {},
      });
    return found;
  }

  /**
   * Runs a function and waits for its result.
   * @throws TooManyRequestsException when the function's or the account's concurrency is used up
   */
  async invoke(nameOrArn: string, event: string, requestId?: string): Promise<Invocation> {
    const fn = this.get(nameOrArn);
    const { reservedConcurrency } = fn.config;
    if (reservedConcurrency !== undefined && fn.running >= reservedConcurrency)
      throw tooMany("ReservedFunctionConcurrentInvocationLimitExceeded");
    if (reservedConcurrency === undefined && this.#unreserved() <= 0)
      throw tooMany("ConcurrentInvocationLimitExceeded");
    if (this.#faults.happens("functionThrottled")) throw tooMany("ConcurrentInvocationLimitExceeded");
    return fn.invoke(event, requestId);
  }

  /** How many more functions without a reservation may run: a reservation is kept free whether it is used or not. */
  #unreserved(): number {
    const used = ({ running, config: { reservedConcurrency } }: LambdaFunction) => reservedConcurrency ?? running;
    return [...this.#functions.values()].reduce((left, fn) => left - used(fn), this.#concurrency);
  }

  /** Takes an event in and runs the function later, as EventBridge does. @throws ResourceNotFoundException */
  invokeLater(nameOrArn: string, event: string): void {
    const { name, arn } = this.get(nameOrArn).config;
    const invoke = (text: string, requestId: string) => this.invoke(name, text, requestId);
    this.#async.take({ name, arn, invoke }, event, this.#asyncConfigs.get(name) ?? defaultAsync);
  }

  async stop(): Promise<void> {
    this.#async.stop();
    await Promise.all([...this.#functions.values()].map((fn) => fn.stop()));
  }

  service() {
    return service<typeof sdk>({
      signingName: "lambda",
      protocol: "restJson",
      sdk,
      actionOf: (operation) => (operation === "Invoke" ? "lambda:InvokeFunction" : `lambda:${operation}`),
      resourcesOf: (_, { FunctionName }) =>
        FunctionName === undefined ? ["*"] : [this.get(String(FunctionName)).config.arn],
      handlers: {
        Invoke: async ({ FunctionName, Payload, InvocationType = "RequestResponse" }) => {
          const event = Buffer.from((Payload as Uint8Array | undefined) ?? []).toString("utf8") || "null";
          if (!isJson(event))
            throw new sdk.InvalidRequestContentException({
              Type: "User",
              message: "Could not parse request body into json: it is not JSON",
              $metadata: {},
            });
          const { arn } = this.get(FunctionName!).config;
          if (InvocationType === "DryRun") return { StatusCode: 204 };
          if (InvocationType === "Event") {
            this.invokeLater(arn, event);
            return { StatusCode: 202 };
          }
          const result = await this.invoke(arn, event);
          const answer = { StatusCode: 200, ExecutedVersion: "$LATEST" };
          return "error" in result
            ? { ...answer, FunctionError: "Unhandled", Payload: Buffer.from(JSON.stringify(result.error)) }
            : { ...answer, Payload: Buffer.from(result.payload) };
        },
        ListFunctions: () => ({ Functions: [...this.#functions.values()].map(({ config }) => described(config)) }),
        GetFunctionConfiguration: ({ FunctionName }) => described(this.get(FunctionName!).config),
        GetFunctionConcurrency: ({ FunctionName }) => ({
          ReservedConcurrentExecutions: this.get(FunctionName!).config.reservedConcurrency,
        }),
        PutFunctionConcurrency: ({ FunctionName, ReservedConcurrentExecutions }) => {
          const { config } = this.get(FunctionName!);
          config.reservedConcurrency = ReservedConcurrentExecutions;
          return { ReservedConcurrentExecutions };
        },
      },
    });
  }
}

const tooMany = (Reason: sdk.ThrottleReason) =>
  new sdk.TooManyRequestsException({
    Reason,
    Type: "User",
    message: "Rate Exceeded.",
    $metadata: { httpStatusCode: 429 },
  });

const described = ({ name, arn, timeoutSeconds, memoryMb }: FunctionConfig) => ({
  FunctionName: name,
  FunctionArn: arn,
  Runtime: "nodejs24.x",
  Handler: "bundle.handler",
  Timeout: timeoutSeconds,
  MemorySize: memoryMb,
});
