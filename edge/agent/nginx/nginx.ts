/** Runs the edge's nginx: starts it once, reloads it only for a new structure, and probes whether its workers serve. */
import { execFile, spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readlinkSync, renameSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { groupId, readIfThere, share, writeAtomically, writeShared } from "../files.ts";
import type { EdgeSettings } from "../settings.ts";
import { errorLog, nginxLogs } from "./logs.ts";

const run = promisify(execFile);
const probeMs = 1000;
const reloadMs = 10_000;
const stopMs = 2000;
/** Probes that workers without a master may miss: they may only be busy, and carry sessions. */
const missedMax = 5;

/** The unit that runs nginx on an instance. */
const nginxUnit = "landfall-nginx.service";
/** The folder of nginx's sockets. */
const sockets = "sockets";

export class Nginx {
  readonly #dir: string;
  readonly #command: string[];
  readonly #byUnit: boolean;
  readonly #errors: string;
  #structure: string | undefined;
  #busy = false;

  /** nginx's own user may write into these files, and make its sockets in this folder: it owns nothing here. */
  constructor(dir: string, { command, start, group }: Pick<EdgeSettings["nginx"], "command" | "start" | "group">) {
    this.#dir = dir;
    this.#command = command;
    this.#byUnit = start === "unit";
    this.#errors = path.join(dir, errorLog);
    for (const name of ["", "logs", sockets]) mkdirSync(path.join(dir, name), { recursive: true, mode: 0o755 });
    const gid = group === undefined ? undefined : groupId(group);
    share(path.join(dir, sockets), gid, 0o770);
    for (const name of ["nginx.pid", ...nginxLogs])
      if (!existsSync(path.join(dir, name))) writeShared(path.join(dir, name), gid);
  }

  /** First 12 characters of the running structure's hash. */
  get structure(): string | undefined {
    return this.#structure;
  }

  /** The master's pid, when it runs. */
  pid = (): number | undefined => masterIn(this.#dir);

  /** Workers that outlived their master. */
  #orphans = () => nginxIn(this.#dir).filter((pid) => !isNginx(parentOf(pid)));

  /** Makes them free their master's ports. Their sessions go on, unless they don't react. */
  async #retireOrphans(): Promise<void> {
    const orphans = this.#orphans();
    for (const pid of orphans) signal(pid, "SIGQUIT");
    let left = orphans;
    for (const until = Date.now() + stopMs; left.length > 0 && Date.now() < until; await sleep(20))
      left = left.filter((pid) => isNginx(pid) && !commandOf(pid).includes("shutting down"));
    for (const pid of left) signal(pid, "SIGKILL");
  }

  /** A worker's answer: its structure, what it reads in the routes folder, and whether it can write session notes. */
  async probe(): Promise<{ structure: string; ready: string; notes: boolean } | undefined> {
    const answer = await askSocket(path.join(this.#dir, sockets, "probe.sock"));
    const [structure, ready, unwritable] = answer?.split(" ") ?? [];
    return structure !== undefined && ready !== undefined
      ? { structure, ready, notes: unwritable === undefined }
      : undefined;
  }

  /**
   * Runs this structure: tests it, swaps it in, and waits for its workers' answer. If the answer does not come, it
   * restores the former structure.
   * @throws with nginx's error message if the structure can't be used; the former one then still serves
   */
  async use(id: string, conf: string, router: string): Promise<void> {
    this.#busy = true;
    try {
      await this.#use(id, conf, router);
    } finally {
      this.#busy = false;
    }
  }

  async #use(id: string, conf: string, router: string): Promise<void> {
    const file = (name: string) => path.join(this.#dir, name);
    const before = readIfThere(file("nginx.conf"));
    if (before === conf && this.pid() !== undefined && (await this.probe())?.structure === id) {
      this.#structure = id; // an earlier agent started it: a reload would only leave old workers behind
      return;
    }
    writeFileSync(file(`router-${id}.js`), router, { mode: 0o644 });
    writeFileSync(file("nginx.conf~"), conf, { mode: 0o644 });
    await this.#exec("-t", "-c", file("nginx.conf~"));
    renameSync(file("nginx.conf~"), file("nginx.conf"));
    try {
      await this.#startOrReload(id);
    } catch (error) {
      if (before !== undefined) {
        writeAtomically(file("nginx.conf"), before);
        this.signal("SIGHUP");
      }
      throw error;
    }
    this.#structure = id;
    for (const name of readdirSync(this.#dir))
      if (name.startsWith("router-") && name !== `router-${id}.js`) rmSync(file(name));
  }

  /**
   * Restarts a dead nginx with its current structure, but not while `use` changes the structure. `missed` probes in a row
   * had no answer.
   */
  async restart(missed: number): Promise<void> {
    if (this.#busy || this.#structure === undefined || this.pid() !== undefined) return;
    if (missed < missedMax && this.#orphans().length > 0) return;
    await this.#startOrReload(this.#structure);
  }

  signal(signal: NodeJS.Signals): boolean {
    const pid = this.pid();
    return pid !== undefined && process.kill(pid, signal);
  }

  /** Ends nginx and its sessions at once, and waits for its end. */
  async stop(): Promise<void> {
    if (this.signal("SIGTERM"))
      for (const until = Date.now() + stopMs; Date.now() < until && this.pid() !== undefined; ) await sleep(10);
    for (const pid of this.#orphans()) signal(pid, "SIGKILL");
  }

  async #startOrReload(id: string): Promise<void> {
    if (this.pid() === undefined) {
      await this.#retireOrphans();
      const folder = path.join(this.#dir, sockets);
      for (const left of readdirSync(folder)) rmSync(path.join(folder, left), { force: true, recursive: true }); // or it can't bind
      this.#start();
    } else this.signal("SIGHUP");
    for (const until = Date.now() + reloadMs; Date.now() < until; await sleep(50))
      if ((await this.probe())?.structure === id) return;
    throw new Error(`nginx does not run structure ${id} after ${reloadMs} ms: ${this.#lastError()}`);
  }

  /** Not a daemon, so that its parent process reaps it. Detached, so that it outlives this process. */
  #start(): void {
    if (this.#byUnit) return writeAtomically(path.join(this.#dir, "start"), `${Date.now()}\n`);
    const conf = path.join(this.#dir, "nginx.conf");
    const [command, args] = this.#line("-c", conf, "-g", "daemon off;");
    const master = spawn(command, args, { cwd: this.#dir, detached: true, stdio: "ignore" });
    master.on("error", () => {}); // the probe finds that it does not run
    master.unref();
  }

  #line(...args: string[]): [command: string, args: string[]] {
    const [command = "nginx", ...before] = this.#command;
    return [command, [...before, "-p", this.#dir, "-e", this.#errors, ...args]];
  }

  async #exec(...args: string[]): Promise<void> {
    try {
      await run(...this.#line(...args), { timeout: 30_000 });
    } catch (error) {
      const said = String((error as { stderr?: string }).stderr ?? error).trim();
      throw new Error(`nginx refuses: ${said.split("\n").slice(-3).join(" ").slice(0, 500)}`, { cause: error });
    }
  }

  #lastError(): string {
    return readIfThere(this.#errors)?.trim().split("\n").at(-1)?.slice(0, 300) ?? "no error log";
  }
}

/** The master that was started in this directory. The file is nginx's to write: it may name a pid of somebody else. */
export function masterIn(dir: string): number | undefined {
  const pid = Number(readIfThere(path.join(dir, "nginx.pid"))?.trim() || Number.NaN);
  if (!Number.isInteger(pid) || pid <= 1) return undefined;
  return isNginx(pid) && commandOf(pid).includes(dir) ? pid : undefined;
}

/**
 * The nginx processes that were started in this directory, or by its unit: a worker's command line does not show its edge, and
 * where another user's process was started nobody may see.
 */
export function nginxIn(dir: string): number[] {
  const isHere = (pid: number) =>
    [dir, path.join(dir, "routes")].includes(startedIn(pid) ?? "") ||
    readIfThere(`/proc/${pid}/cgroup`)?.includes(nginxUnit) === true;
  return readdirSync("/proc")
    .map(Number)
    .filter((pid) => pid > 1 && isNginx(pid) && isHere(pid));
}

function startedIn(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return undefined; // the process ended, or belongs to another user
  }
}

/** Its command line as /proc shows it; empty if it has ended. */
const commandOf = (pid: number): string => readIfThere(`/proc/${pid}/cmdline`) ?? "";

/** It may have ended meanwhile. */
function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

const isNginx = (pid: number | undefined) => readIfThere(`/proc/${pid}/comm`)?.trim() === "nginx";

/** The parent's pid. For an orphan, this is the process that adopted it. */
function parentOf(pid: number): number | undefined {
  const stat = readIfThere(`/proc/${pid}/stat`);
  return stat === undefined ? undefined : Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
}

function askSocket(file: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = net.connect(file);
    let answer = "";
    const end = (value: string | undefined) => {
      socket.destroy();
      resolve(value);
    };
    socket.setTimeout(probeMs, () => end(undefined));
    socket.on("data", (chunk) => {
      answer += chunk;
    });
    socket.on("end", () => end(answer));
    socket.on("error", () => end(undefined));
  });
}
