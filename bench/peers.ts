/** The peers that an edge is compared with. Each routes the same server names to the same backend, on loopback. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { nginxHere, nginxProgram } from "../local/edges/edge.ts";
import { StandaloneEdge, structureOn } from "../local/edges/standalone.ts";
import { isAlive, kill } from "../local/processes.ts";
import { freePort } from "../test/fixtures/sockets.ts";

export interface Peer {
  name: string;
  host: string;
  port: number;
  /** The peer's processes, to measure CPU time and memory. */
  pids: () => number[];
  /** Whether the peer can route by wildcard. */
  wildcards: boolean;
  /** Routes names to other backends, `address:port`. Returns once the change is under way. */
  change?: (routes: Map<string, string>) => Promise<void>;
  /** Set if each change needs a reload. */
  reloads?: true;
  stop: () => Promise<void>;
}

export interface Setting {
  names: string[];
  /** Parent domains: every name below them is routed to the backend. */
  wildcards?: string[];
  /** `address:port` */
  backend: string;
  /** Sessions that it takes: of all, of one source, of one name. */
  limits?: { sessions: number; perSource: number; tenantSessions: number };
}

export type StartPeer = (setting: Setting) => Promise<Peer>;

const host = "127.0.0.1";
const scratch = () => mkdtempSync("/dev/shm/landfall-bench-");

/** Landfall's edge: njs reads small files. */
export const landfall: StartPeer = async ({ names, wildcards = [], backend }) => {
  const dir = scratch();
  execFileSync("chmod", ["755", dir]);
  const port = await freePort();
  const structure = structureOn({ edgeTlsPort: port, portBase: await freePort(), portCount: 1 });
  const edge = await StandaloneEdge.start({ dir, address: host, structure });
  for (const name of names) edge.write(`n/${name}`, `7 acme\n+${backend}\n`);
  for (const parent of wildcards) edge.write(`w/${parent}`, `7 acme\n+${backend}\n`);
  const master = edge.nginx.pid()!;
  endWith(() => family(master));
  return {
    name: "Landfall's edge",
    host,
    port,
    pids: () => family(master),
    wildcards: true,
    change: async (routes) => {
      for (const [name, to] of routes) edge.write(`n/${name}`, `7 acme\n+${to}\n`);
    },
    stop: () => edge.stop(),
  };
};

/** nginx with one map from names to addresses, as in a generated configuration. */
export const nginxMap: StartPeer = async ({ names, wildcards = [], backend, limits }) => {
  const port = await freePort();
  const routes = new Map(names.map((name) => [name, backend]));
  const conf = () => {
    const rows = [...routes].map(([name, to]) => `${name} ${to};`);
    const wild = wildcards.map((name) => `*.${name} ${backend};`);
    const zone = limits === undefined ? "" : "limit_conn_zone $binary_remote_addr zone=sources:32m;";
    const hardened = limits === undefined ? "" : `limit_conn sources ${limits.perSource}; ${patient}`;
    return `map_hash_max_size 1048576; map_hash_bucket_size 512; ${zone}
    map $ssl_preread_server_name $backend { hostnames;\n${[...rows, ...wild].join("\n")}\n}
    server { ${hardened} listen ${host}:${port} so_keepalive=60s:30s:4; ssl_preread on; proxy_pass $backend; }`;
  };
  const { peer, reload } = await startNginx("nginx, a map", port, conf());
  const change = async (changed: Map<string, string>) => {
    for (const [name, to] of changed) routes.set(name, to);
    await reload(conf());
  };
  return { ...peer, wildcards: true, reloads: true, change };
};

/** Takes hellos of 64 KB within ten seconds, as an edge does. */
const patient = "preread_buffer_size 68k; preread_timeout 10s; proxy_half_close on;";

/** nginx with an upstream block for each tenant. */
export const nginxUpstreams: StartPeer = async ({ names, backend }) => {
  const port = await freePort();
  const rows = names.map((name, index) => `${name} u${index};`);
  const blocks = names.map((_, index) => `upstream u${index} { server ${backend}; }`);
  const conf = `map_hash_max_size 1048576; map_hash_bucket_size 512;
    map $ssl_preread_server_name $backend { hostnames;\n${rows.join("\n")}\n}
    ${blocks.join("\n")}
    server { listen ${host}:${port} so_keepalive=60s:30s:4; ssl_preread on; proxy_pass $backend; }`;
  return (await startNginx("nginx, one upstream per tenant", port, conf)).peer;
};

async function startNginx(name: string, port: number, servers: string) {
  const dir = scratch();
  const modules = nginxHere()
    .modules.map((module) => `load_module ${module};`)
    .join("\n");
  const text = (
    servers: string,
  ) => `${modules}\nworker_processes 1; pid ${dir}/pid; error_log ${dir}/error.log crit; daemon off;
    worker_rlimit_nofile 16384; events { worker_connections 8192; }
    stream {
      access_log off; preread_buffer_size 16k; preread_timeout 3s; proxy_buffer_size 64k; proxy_connect_timeout 2s;
      proxy_timeout 24h; proxy_socket_keepalive on; tcp_nodelay on;
      ${servers}
    }`;
  const file = path.join(dir, "nginx.conf");
  writeFileSync(file, text(servers));
  const [command = "nginx", ...before] = nginxProgram();
  const child = spawn(command, [...before, "-p", dir, "-e", path.join(dir, "error.log"), "-c", file], {
    stdio: "ignore",
  });
  const stop = () => end(child, dir);
  const peer = await ready({ name, host, port, pids: () => family(child.pid!), wildcards: false, stop }, child);
  const reload = async (servers: string) => {
    writeFileSync(file, text(servers));
    const before = family(child.pid!);
    child.kill("SIGHUP"); // sent again if it is lost, which happens while the master starts
    for (let waited = 0; family(child.pid!).every((pid) => before.includes(pid)); waited += 2) {
      await sleep(2);
      if (waited > 0 && waited % 2000 === 0) child.kill("SIGHUP");
    }
  };
  return { peer, reload };
}

/** HAProxy with a map that its runtime API can change. */
export const haproxy: StartPeer = async ({ names, wildcards = [], backend, limits }) => {
  const dir = scratch();
  const port = await freePort();
  mkdirSync(dir, { recursive: true });
  writeFileSync(path.join(dir, "names.map"), names.map((name) => `${name} ${backend}\n`).join(""));
  writeFileSync(path.join(dir, "wild.map"), wildcards.map((name) => `.${name} ${backend}\n`).join(""));
  writeFileSync(
    path.join(dir, "haproxy.cfg"),
    `global
  nbthread 1
  maxconn ${limits?.sessions ?? 8192}
  ${limits === undefined ? "" : "tune.bufsize 70000"}
  stats socket ${dir}/api.sock level admin
defaults
  mode tcp
  timeout connect 2s
  timeout client 24h
  timeout server 24h
  ${limits === undefined ? "" : "timeout client-fin 60s\n  timeout server-fin 60s\n  option clitcpka"}
${limits === undefined ? "" : "backend names\n  stick-table type string len 64 size 10k store conn_cur"}
frontend tls
  bind ${host}:${port}
  ${limits === undefined ? "" : haproxyLimits(limits)}
  tcp-request inspect-delay ${limits === undefined ? 3 : 10}s
  tcp-request content set-var(sess.to) req.ssl_sni,lower,map_str(${dir}/names.map)
  tcp-request content set-var(sess.to) req.ssl_sni,lower,map_end(${dir}/wild.map) if !{ var(sess.to) -m found }
  tcp-request content accept if { req.ssl_hello_type 1 } { var(sess.to) -m found }
  tcp-request content reject
  default_backend any
backend any
  tcp-request content set-dst var(sess.to),field(1,:)
  tcp-request content set-dst-port var(sess.to),field(2,:)
  server any 0.0.0.0:0
`,
  );
  const child = spawn("haproxy", ["-db", "-f", path.join(dir, "haproxy.cfg")], { stdio: "ignore" });
  const stop = () => end(child, dir);
  const change = async (routes: Map<string, string>) => {
    for (const [name, to] of routes) await tell(path.join(dir, "api.sock"), `set map ${dir}/names.map ${name} ${to}\n`);
  };
  const facts = { name: "HAProxy, runtime maps", host, port, wildcards: true, change, stop };
  return ready({ ...facts, pids: () => family(child.pid!) }, child);
};

const haproxyLimits = ({ perSource, tenantSessions }: NonNullable<Setting["limits"]>) => `
  stick-table type ip size 100k store conn_cur
  tcp-request connection track-sc0 src
  tcp-request connection reject if { sc0_conn_cur gt ${perSource} }
  tcp-request content track-sc1 req.ssl_sni,lower table names if { req.ssl_hello_type 1 }
  tcp-request content reject if { sc1_conn_cur gt ${tenantSessions} }`;

/** Writes a line to a socket, and waits until the other side closes it. */
const tell = (file: string, line: string) =>
  new Promise<void>((resolve, reject) => {
    const socket = net.connect(file, () => socket.write(line));
    socket.on("error", reject).on("close", () => resolve());
    socket.resume();
  });

/** No proxy at all. */
export const direct: StartPeer = async ({ backend }) => {
  const [address = "", port = ""] = backend.split(":");
  return { name: "direct", host: address, port: Number(port), pids: () => [], wildcards: false, stop: async () => {} };
};

const endings: (() => number[])[] = [];

/** Kills what an interrupted bench leaves behind. Nothing can be awaited at that point. */
export function endWith(pids: () => number[]): void {
  if (endings.push(pids) > 1) return;
  process.on("exit", () => {
    for (const pid of endings.flatMap((of) => of())) kill(pid);
  });
}

async function ready(peer: Peer, child: ChildProcess): Promise<Peer> {
  endWith(peer.pids);
  for (const until = Date.now() + 60_000; Date.now() < until; await sleep(20)) {
    if (child.exitCode !== null) throw new Error(`${peer.name} ended with ${child.exitCode}`);
    if (await accepts(peer)) return peer;
  }
  throw new Error(`${peer.name} does not accept within 60 s`);
}

const accepts = ({ host, port }: { host: string; port: number }) =>
  new Promise<boolean>((resolve) => {
    const socket = net.connect({ host, port });
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });

async function end(child: ChildProcess, dir: string): Promise<void> {
  const gone = new Promise((resolve) => child.once("exit", resolve));
  for (const pid of family(child.pid!)) kill(pid); // the master first: it would replace a worker that dies
  await gone;
  rmSync(dir, { recursive: true, force: true });
}

/** A process and its children; empty if the process has ended. */
export function family(pid: number): number[] {
  if (!isAlive(pid)) return [];
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
  return [pid, ...(children === "" ? [] : children.split(" ").map(Number))];
}

/** CPU time that a process has used, µs. */
export const cpuOf = (pid: number) => Number(readFileSync(`/proc/${pid}/schedstat`, "utf8").split(" ")[0]) / 1000;

/** The memory of a process, with its proportional share of shared memory (PSS), MB. */
export function memoryOf(pid: number): number {
  const pss = /^Pss:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"));
  return Number(pss?.[1]) / 1024;
}
