/** A gateway with some services behind it, for contract tests with real SDK clients. */
import { Gateway, type RawService } from "../../local/gateway/gateway.ts";
import type { Service } from "../../local/gateway/service.ts";
import { Iam } from "../../local/iam/iam.ts";

export const account = "123456789012";

export async function startGateway(services: (Service | RawService)[], iam = new Iam(account)) {
  iam.addKey("admin", iam.root);
  const faults: unknown[] = [];
  const gateway = new Gateway({
    account,
    iam,
    services,
    own: async () => undefined,
    travel: async () => {},
    onFault: (error) => faults.push(error),
  });
  const port = await gateway.listen(0, "127.0.0.1");
  const client = (accessKeyId = "admin", region = "us-west-2") => ({
    endpoint: `http://127.0.0.1:${port}`,
    region,
    credentials: { accessKeyId, secretAccessKey: "secret" },
    maxAttempts: 1,
  });
  return { client, iam, faults, close: () => gateway.close() };
}

/** The name of the error that a call ends with; `none` when it succeeds. */
export async function errorName(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return "none";
  } catch (error) {
    return (error as Error).name;
  }
}

export async function eventually<T>(
  read: () => Promise<T> | T,
  holds: (value: T) => boolean,
  withinMs = 10_000,
): Promise<T> {
  for (const until = Date.now() + withinMs; ; await new Promise((resolve) => setTimeout(resolve, 20))) {
    const value = await read();
    if (holds(value)) return value;
    if (Date.now() > until) throw new Error(`not within ${withinMs} ms; last: ${JSON.stringify(value)}`);
  }
}
