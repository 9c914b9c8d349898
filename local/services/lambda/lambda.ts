/** Lambda: the functions of the lock, invoked by name or ARN. */
import * as sdk from "@aws-sdk/client-lambda";
import { AwsError, service } from "../../gateway/service.ts";
import { type FunctionConfig, type Invocation, LambdaFunction } from "./function.ts";

export class Lambda {
  readonly #functions = new Map<string, LambdaFunction>();

  add(config: FunctionConfig): void {
    this.#functions.set(config.name, new LambdaFunction(config));
  }

  /** By name, or by an ARN with or without a qualifier. */
  find(nameOrArn: string): LambdaFunction | undefined {
    return this.#functions.get(/:function:([^:]+)/.exec(nameOrArn)?.[1] ?? nameOrArn);
  }

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

  invoke(nameOrArn: string, event: string): Promise<Invocation> {
    return this.get(nameOrArn).invoke(event);
  }

  async stop(): Promise<void> {
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
          const fn = this.get(FunctionName!);
          if (InvocationType === "DryRun") return { StatusCode: 204 };
          if (InvocationType === "Event")
            throw new AwsError("InvalidParameterValueException", "asynchronous invocation is not implemented here");
          const result = await fn.invoke(event);
          const answer = { StatusCode: 200, ExecutedVersion: "$LATEST" };
          return "error" in result
            ? { ...answer, FunctionError: "Unhandled", Payload: Buffer.from(JSON.stringify(result.error)) }
            : { ...answer, Payload: Buffer.from(result.payload) };
        },
        ListFunctions: () => ({ Functions: [...this.#functions.values()].map(({ config }) => described(config)) }),
        GetFunctionConfiguration: ({ FunctionName }) => described(this.get(FunctionName!).config),
      },
    });
  }
}

const described = ({ name, arn, timeoutSeconds, memoryMb }: FunctionConfig) => ({
  FunctionName: name,
  FunctionArn: arn,
  Runtime: "nodejs24.x",
  Handler: "bundle.handler",
  Timeout: timeoutSeconds,
  MemorySize: memoryMb,
});
