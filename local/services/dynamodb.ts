/** DynamoDB and its streams: dynoxide's binary behind the gateway, so that policies apply to every call. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import http from "node:http";
import { createRequire } from "node:module";
import net from "node:net";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { RawService } from "../gateway/gateway.ts";
import type { WireRequest, WireResponse } from "../gateway/http.ts";
import type { Iam } from "../gateway/iam.ts";
import { AwsError, type Call } from "../gateway/service.ts";
import { isJson } from "../json.ts";

/** dynoxide writes its own region and account into ARNs. */
const engineArn = "arn:aws:dynamodb:dynoxide:000000000000:";
const shardTail = "-00000000";
const startMs = 10_000;

export class DynamoDb {
  readonly #child: ChildProcess | undefined;
  readonly #agent = new http.Agent({ keepAlive: true, maxSockets: 128 });
  /** Called with the table's name after each write, so that a stream's poller need not wait for its next poll. */
  onWrite: (table: string) => void = () => {};
  /** Called for every read with its number of items, for measurements; absent in ordinary runs. */
  onRead: ((operation: string, table: string, items: number) => void) | undefined;
  /** The engine's own endpoint; only the gateway and the stream pollers use it. */
  readonly endpoint: string;

  private constructor(endpoint: string, child?: ChildProcess) {
    this.endpoint = endpoint;
    this.#child = child;
  }

  /** Starts the engine. LANDFALL_DYNAMODB_ENDPOINT, if set, replaces it: for machines without a binary. */
  static async start(): Promise<DynamoDb> {
    const given = process.env.LANDFALL_DYNAMODB_ENDPOINT;
    if (given !== undefined) return new DynamoDb(given);
    const binary = path.join(path.dirname(require.resolve("@dynoxide/linux-x64/package.json")), "dynoxide");
    if (!existsSync(binary))
      throw new Error("no DynamoDB engine for this machine: start DynamoDB Local and set LANDFALL_DYNAMODB_ENDPOINT");
    const port = await freePort();
    const args = ["serve", "--host", "127.0.0.1", "--port", String(port)];
    // A killed parent cannot end its children, so the kernel ends the engine with it.
    // The engine has its own process group: Ctrl-C reaches our whole group, and the engine must end last.
    const options = { stdio: "ignore", detached: true } as const;
    const child = existsSync("/usr/bin/setpriv")
      ? spawn("/usr/bin/setpriv", ["--pdeathsig", "KILL", binary, ...args], options)
      : spawn(binary, args, options);
    const database = new DynamoDb(`http://127.0.0.1:${port}`, child);
    await database.#ready();
    return database;
  }

  async #ready(): Promise<void> {
    for (const until = Date.now() + startMs; Date.now() < until; await sleep(10)) {
      if (this.#child?.exitCode !== null) break;
      try {
        await fetch(this.endpoint, { signal: AbortSignal.timeout(500) });
        return;
      } catch {} // not listening yet
    }
    throw new Error("the DynamoDB engine did not start");
  }

  stop(): void {
    this.#agent.destroy();
    this.#child?.kill("SIGKILL");
  }

  /** Answers in the engine's one region. Other regions have no tables. */
  service(iam: Iam, region: string): RawService {
    return {
      signingName: "dynamodb",
      answer: (request, call) => {
        if (call.region !== region)
          throw new AwsError("ResourceNotFoundException", `Requested resource not found: tables here are in ${region}`);
        return this.#answer(request, call, iam);
      },
    };
  }

  async #answer(request: WireRequest, call: Call, iam: Iam): Promise<WireResponse> {
    const operation = request.headers["x-amz-target"]?.split(".").at(-1) ?? "";
    const text = request.body.toString("utf8");
    const access = accessOf(operation, text, call);
    for (const { action, resource } of access) iam.check(call.caller, action, [resource]);
    if (!/Table|Stream|Shard|Records/.test(operation)) return this.#passTold(request, operation, access);
    // Descriptions of tables and streams contain the engine's own region, and shard ids too short for the AWS CLI.
    const own = `arn:aws:dynamodb:${call.region}:${call.account}:`;
    const asked = text.replaceAll(own, engineArn).replaceAll(shardTail, "");
    const answer = await this.#passTold({ ...request, body: Buffer.from(asked) }, operation, access);
    const told = String(answer.body)
      .replaceAll(engineArn, own)
      .replace(/("(?:Parent)?ShardId":"[^"]+)"/g, `$1${shardTail}"`);
    return { ...answer, body: told };
  }

  /** Forwards a request to the engine, then calls `onWrite` or `onRead`. */
  async #passTold(request: WireRequest, operation: string, access: { resource: string }[]): Promise<WireResponse> {
    const answer = await this.#pass(request);
    if (answer.status === 200 && /Put|Update|Delete|Write/.test(operation))
      for (const { resource } of access) this.onWrite(resource.slice(resource.lastIndexOf("/") + 1));
    if (this.onRead !== undefined && /^(Get|BatchGet|Query|Scan)/.test(operation))
      for (const { resource } of access)
        this.onRead(operation, resource.split("/").at(-1)!, itemsRead(operation, request, answer));
    return answer;
  }

  #pass(request: WireRequest): Promise<WireResponse> {
    return new Promise((resolve, reject) => {
      const { authorization, "x-amz-target": target, "x-amz-date": date, "content-type": type } = request.headers;
      const outgoing = http.request(
        this.endpoint,
        {
          method: "POST",
          agent: this.#agent,
          headers: {
            authorization,
            "x-amz-date": date,
            "x-amz-target": target,
            "content-type": type,
            "content-length": request.body.length,
          },
        },
        (incoming) => {
          const chunks: Buffer[] = [];
          incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
          incoming.on("end", () =>
            resolve({
              status: incoming.statusCode ?? 500,
              // without the engine's checksum: it covers the bytes before ARNs are rewritten, and the AWS CLI checks it
              headers: { "content-type": "application/x-amz-json-1.0" },
              body: Buffer.concat(chunks).toString("utf8"),
            }),
          );
          incoming.on("error", reject);
        },
      );
      outgoing.on("error", reject);
      outgoing.end(request.body);
    });
  }
}

/** A get reads one item, even if the item does not exist. A query reads the items that it finds. */
function itemsRead(operation: string, request: WireRequest, { body }: WireResponse): number {
  if (operation === "GetItem") return 1;
  if (operation !== "BatchGetItem") return Number(/"Count":(\d+)/.exec(String(body))?.[1] ?? 0);
  const { RequestItems = {} } = JSON.parse(request.body.toString("utf8")) as {
    RequestItems?: Record<string, { Keys: [] }>;
  };
  return Object.values(RequestItems).reduce((sum, { Keys }) => sum + Keys.length, 0);
}

const require = createRequire(import.meta.url);

const transactActions: Record<string, string> = {
  Put: "PutItem",
  Update: "UpdateItem",
  Delete: "DeleteItem",
  ConditionCheck: "ConditionCheckItem",
  Get: "GetItem",
};

/** The tables that a request accesses, each with IAM's action. */
function accessOf(operation: string, text: string, call: Call): { action: string; resource: string }[] {
  const arn = (table: string) =>
    table.startsWith("arn:") ? table : `arn:aws:dynamodb:${call.region}:${call.account}:table/${table}`;
  const on = (table: string, action: string) => ({ action: `dynamodb:${action}`, resource: arn(table) });
  if (!isJson(text || "{}")) throw new AwsError("SerializationException", "the body is not JSON");
  const body = JSON.parse(text || "{}") as {
    TableName?: string;
    StreamArn?: string;
    RequestItems?: Record<string, unknown>;
    TransactItems?: Record<string, { TableName: string }>[];
  };
  if (body.TransactItems !== undefined)
    return body.TransactItems.flatMap((item) =>
      Object.entries(item).map(([kind, { TableName }]) => on(TableName, transactActions[kind] ?? kind)),
    );
  if (body.RequestItems !== undefined) return Object.keys(body.RequestItems).map((table) => on(table, operation));
  if (body.StreamArn !== undefined) return [{ action: `dynamodb:${operation}`, resource: body.StreamArn }];
  return [
    body.TableName === undefined ? { action: `dynamodb:${operation}`, resource: "*" } : on(body.TableName, operation),
  ];
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as net.AddressInfo;
      server.close(() => resolve(port));
    });
  });
}
