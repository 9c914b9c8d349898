/** The DynamoDB engine: dynoxide's binary, or whatever LANDFALL_DYNAMODB_ENDPOINT names. Knows nothing of callers. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, statfsSync } from "node:fs";
import http from "node:http";
import { createRequire } from "node:module";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";
import type { WireRequest, WireResponse } from "../../gateway/http.ts";

const require = createRequire(import.meta.url);
const startMs = 10_000;
/** 100,000 tenants and their stream take 170 MB. */
const memoryBytes = 1024 ** 3;

export class Engine {
  readonly #child: ChildProcess | undefined;
  readonly #agent = new http.Agent({ keepAlive: true, maxSockets: 128 });
  readonly endpoint: string;

  private constructor(endpoint: string, child?: ChildProcess) {
    this.endpoint = endpoint;
    this.#child = child;
  }

  static async start(): Promise<Engine> {
    const given = process.env.LANDFALL_DYNAMODB_ENDPOINT;
    if (given !== undefined) return new Engine(given);
    const binary = path.join(path.dirname(require.resolve("@dynoxide/linux-x64/package.json")), "dynoxide");
    if (!existsSync(binary))
      throw new Error("no DynamoDB engine for this machine: start DynamoDB Local and set LANDFALL_DYNAMODB_ENDPOINT");
    const dir = mkdtempSync(path.join(roomyDir(), "landfall-dynamodb-"));
    const file = path.join(dir, "db");
    const port = await freePort();
    const args = ["serve", "--host", "127.0.0.1", "--port", String(port), "--db-path", file];
    // The kernel ends the engine with its parent, which may be killed. Its own process group: Ctrl-C reaches the whole group
    // of the parent, and the engine must be the last to go.
    const options = { stdio: "ignore", detached: true } as const;
    const child = existsSync("/usr/bin/setpriv")
      ? spawn("/usr/bin/setpriv", ["--pdeathsig", "KILL", binary, ...args], options)
      : spawn(binary, args, options);
    const engine = new Engine(`http://127.0.0.1:${port}`, child);
    try {
      await engine.#ready();
      indexStream(file);
    } finally {
      rmSync(dir, { recursive: true, force: true }); // the engine has its files open: nothing is left even after kill -9
    }
    return engine;
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

  send(request: Pick<WireRequest, "headers" | "body">): Promise<WireResponse> {
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
              // Without the engine's checksum: it is computed before ARNs are rewritten, and the AWS CLI checks it.
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

/** Memory where there is enough of it, else the disk. */
function roomyDir(): string {
  const memory = "/dev/shm";
  if (!existsSync(memory)) return os.tmpdir();
  const { bavail, bsize } = statfsSync(memory);
  return bavail * bsize >= memoryBytes ? memory : os.tmpdir();
}

/**
 * Each write to a table with a stream asks for the stream's greatest sequence number, and the engine has no index for it: a
 * put took 0.5 ms on a new stream, 2.2 ms after 20,000 records and 27 ms after 100,000. With this index it stays at 0.3 ms.
 */
function indexStream(file: string): void {
  const database = new DatabaseSync(file, { timeout: 5000 });
  database.exec(`CREATE INDEX IF NOT EXISTS landfall_stream_order ON _stream_records
    (table_name, CAST(sequence_number AS INTEGER), shard_id, sequence_number)`);
  database.close();
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
