/** One edge. On EC2 it is an instance; here it is a directory, an agent process, and the nginx that the agent runs. */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, rmSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { writeAtomically } from "../../edge/agent/files.ts";
import { masterIn, nginxIn } from "../../edge/agent/nginx/nginx.ts";
import type { EdgeSettings } from "../../edge/agent/settings.ts";
import { kill } from "../processes.ts";

export interface EdgeConfig {
  id: string;
  cell: string;
  region: string;
  address: string;
  dir: string;
  /** The settings from the user data. */
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

  /** The pid of nginx's master; undefined if nginx does not run. */
  get pid(): number | undefined {
    return masterIn(path.join(this.config.dir, "run"));
  }

  /** Powers the edge on. It boots with what is on its disk. */
  start(): void {
    if (this.state === "terminated") throw new Error(`${this.config.id} is terminated`);
    this.state = "running";
    const { dir, settings } = this.config;
    // The settings from the user data, with this machine's paths and modules.
    const local: EdgeSettings = {
      ...settings,
      runDir: path.join(dir, "run"),
      stateDir: path.join(dir, "state"),
      nginx: {
        ...settings.nginx,
        ...nginxHere(),
        workers: 1,
        connections: Math.min(8192, settings.nginx.connections),
      },
    };
    mkdirSync(dir, { recursive: true, mode: 0o755 });
    writeAtomically(path.join(dir, "edge.json"), JSON.stringify(local));
    this.#spawn();
  }

  /** Does what systemd does on an instance: restarts an agent that dies. */
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
      detached: true, // Ctrl-C must reach only the cloud, which then stops its edges in order
    });
    closeSync(log);
    this.#agent = agent;
    agent.on("error", (error) => this.config.onFault(error, `agent of ${id}`));
    agent.on("exit", () => {
      if (this.#agent === agent) this.#agent = undefined;
      if (this.state === "running") setTimeout(() => this.state === "running" && this.#spawn(), restartMs);
    });
  }

  /** Like a power failure: ends the agent, nginx and every session at once. */
  powerOff(state: "stopped" | "terminated"): void {
    this.state = state;
    this.#agent?.kill("SIGKILL");
    const master = this.pid;
    // The master first: it would replace a worker that dies. Then all remaining nginx processes, of any master.
    if (master !== undefined) kill(master);
    for (const pid of nginxIn(path.join(this.config.dir, "run"))) kill(pid);
  }

  /** Shuts the edge down gracefully. */
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

/** This machine's nginx, with the allocator that an instance's has (edge/landfall-nginx.service). */
export function nginxProgram(env = process.env): string[] {
  const allocator = allocators.find((file) => existsSync(file));
  const through = allocator === undefined ? [] : ["env", `LD_PRELOAD=${allocator}`];
  return [...through, env.LANDFALL_NGINX ?? "nginx"];
}

/** As on an instance, nginx is another user than the agent. Only root can start it as one. */
const isRoot = process.getuid?.() === 0;
const asNobody = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--bounding-set=-all"];

/**
 * This machine's nginx, with its stream and njs modules. LANDFALL_NGINX, a binary, and LANDFALL_NGINX_MODULES, the
 * folder of its modules, select another nginx: structures must run on Debian's and on nginx.org's.
 */
export function nginxHere(env = process.env): Pick<EdgeSettings["nginx"], "command" | "modules" | "group" | "start"> {
  const folders = env.LANDFALL_NGINX_MODULES?.split(":") ?? ["/usr/lib/nginx/modules", "/usr/lib64/nginx/modules"];
  const folder = folders.find((candidate) => existsSync(path.join(candidate, "ngx_stream_js_module.so")));
  if (folder === undefined)
    throw new Error(
      "nginx's njs module is missing: on Debian, apt-get install nginx libnginx-mod-stream libnginx-mod-stream-js",
    );
  const modules = ["ngx_stream_module.so", "ngx_stream_js_module.so"].map((file) => path.join(folder, file));
  return {
    command: [...(isRoot ? asNobody : []), ...nginxProgram(env)],
    modules: modules.filter((file) => existsSync(file)),
    group: isRoot ? "nogroup" : undefined,
    start: "agent",
  };
}
