/** One edge: what an instance is on EC2, here a directory, an agent process, and the nginx that the agent runs. */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { nginxIn } from "../../edge/agent/nginx/nginx.ts";
import type { EdgeSettings } from "../../edge/agent/settings.ts";
import { isAlive, kill } from "../processes.ts";

export interface EdgeConfig {
  id: string;
  cell: string;
  region: string;
  address: string;
  dir: string;
  /** What user data says. */
  settings: EdgeSettings;
  agentBundle: string;
  environment: Record<string, string>;
  onFault(error: unknown, what: string): void;
}

const restartMs = 200;
const stopMs = 10_000;

export class LocalEdge {
  readonly config: EdgeConfig;
  state: "running" | "stopped" | "terminated" = "stopped";
  #agent: ChildProcess | undefined;

  constructor(config: EdgeConfig) {
    this.config = config;
  }

  get agentPid(): number | undefined {
    return this.#agent?.pid;
  }

  /** nginx's master, when it runs. */
  get pid(): number | undefined {
    const file = path.join(this.config.dir, "run/nginx.pid");
    const pid = existsSync(file) ? Number(readFileSync(file, "utf8")) : 0;
    return pid > 1 && isAlive(pid) ? pid : undefined;
  }

  /** Powers it on. It boots from what its disk has. */
  start(): void {
    if (this.state === "terminated") throw new Error(`${this.config.id} is terminated`);
    this.state = "running";
    const { dir, settings } = this.config;
    // What the user data says, with this machine's paths: Debian's modules, and nginx's own user when root starts it.
    const local: EdgeSettings = {
      ...settings,
      runDir: path.join(dir, "run"),
      stateDir: path.join(dir, "state"),
      nginx: {
        ...settings.nginx,
        ...nginxHere(),
        ...(process.getuid?.() === 0 ? { user: "nobody nogroup" } : {}),
        workers: 1,
        connections: 8192,
      },
    };
    mkdirSync(dir, { recursive: true, mode: 0o755 });
    writeFileSync(path.join(dir, "edge.json"), JSON.stringify(local));
    this.#spawn();
  }

  /** systemd's part: an agent that dies is started again. */
  #spawn(): void {
    const { dir, id, address, agentBundle, environment } = this.config;
    const log = openSync(path.join(dir, "agent.log"), "a");
    const agent = spawn(process.execPath, ["--max-semi-space-size=2", "--max-old-space-size=256", agentBundle], {
      cwd: dir,
      env: {
        ...environment,
        LANDFALL_SETTINGS: path.join(dir, "edge.json"),
        LANDFALL_EDGE_ID: id,
        LANDFALL_ADDRESS: address,
      },
      stdio: ["ignore", log, log, "ipc"],
      detached: true, // Ctrl-C is for the cloud, which ends its edges in order
    });
    closeSync(log);
    this.#agent = agent;
    agent.on("error", (error) => this.config.onFault(error, `agent of ${id}`));
    agent.on("exit", () => {
      if (this.#agent === agent) this.#agent = undefined;
      if (this.state === "running") setTimeout(() => this.state === "running" && this.#spawn(), restartMs);
    });
  }

  /** Pulls the plug: agent, nginx and every session are gone at once. */
  powerOff(state: "stopped" | "terminated"): void {
    this.state = state;
    this.#agent?.kill("SIGKILL");
    const master = this.pid;
    // The master first: it would start another worker for one that dies. Then whoever is left of any master.
    if (master !== undefined) kill(master);
    for (const pid of nginxIn(path.join(this.config.dir, "run"))) kill(pid);
  }

  /** Ends it in order. */
  async stop(): Promise<void> {
    const agent = this.#agent;
    if (this.state === "running") this.state = "stopped";
    if (agent !== undefined && agent.exitCode === null) {
      const ended = new Promise((resolve) => agent.once("exit", resolve));
      agent.kill("SIGTERM");
      await Promise.race([ended, sleep(stopMs, undefined, { ref: false })]);
    }
    this.powerOff(this.state === "terminated" ? "terminated" : "stopped");
    rmSync(path.join(this.config.dir, "run"), { recursive: true, force: true });
  }
}

const allocators = ["x86_64-linux-gnu", "aarch64-linux-gnu"].map((kind) => `/usr/lib/${kind}/libjemalloc.so.2`);

/**
 * This machine's nginx, with its stream and njs modules. LANDFALL_NGINX and LANDFALL_NGINX_MODULES, a binary and its modules'
 * folder, put another in its place: structures are to run on Debian's and on nginx.org's.
 */
export function nginxHere(env = process.env): Pick<EdgeSettings["nginx"], "command" | "modules"> {
  const folders = env.LANDFALL_NGINX_MODULES?.split(":") ?? ["/usr/lib/nginx/modules", "/usr/lib64/nginx/modules"];
  const folder = folders.find((candidate) => existsSync(path.join(candidate, "ngx_stream_js_module.so")));
  if (folder === undefined)
    throw new Error(
      "nginx's njs module is missing: on Debian, apt-get install nginx libnginx-mod-stream libnginx-mod-stream-js",
    );
  const modules = ["ngx_stream_module.so", "ngx_stream_js_module.so"].map((file) => path.join(folder, file));
  const allocator = allocators.find((file) => existsSync(file));
  const through = allocator === undefined ? [] : ["env", `LD_PRELOAD=${allocator}`]; // as edge/user-data.ts does
  return {
    command: [...through, env.LANDFALL_NGINX ?? "nginx"],
    modules: modules.filter((file) => existsSync(file)),
  };
}
