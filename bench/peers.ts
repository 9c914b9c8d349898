/** What an edge is measured against: each routes the same server names to the same backend, on loopback. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { nginxHere } from "../local/edges/edge.ts";
import { StandaloneEdge, structureOn } from "../local/edges/standalone.ts";
import { kill } from "../local/processes.ts";

export interface Peer {
  name: string;
  host: string;
  port: number;
  /** Whose CPU time is the peer's. */
  pids: () => number[];
  stop: () => Promise<void>;
}

export interface Setting {
  names: string[];
  /** Parents of which every name below leads to the backend. */
  wildcards?: string[];
  /** `address:port` */
  backend: string;
}

export type StartPeer = (setting: Setting) => Promise<Peer>;

const host = "127.0.0.1";
const scratch = () => mkdtempSync("/dev/shm/landfall-bench-");

/** Landfall's edge: njs over small files. */
export const landfall: StartPeer = async ({ names, wildcards = [], backend }) => {
  const dir = scratch();
  execFileSync("chmod", ["755", dir]);
  const port = await freePort();
  const structure = structureOn({ edgeTlsPort: port, portBase: await freePort(), portCount: 1 });
  const edge = await StandaloneEdge.start({ dir, address: host, structure });
  for (const name of names) edge.write(`n/${name}`, `+${backend}\n`);
  for (const parent of wildcards) edge.write(`w/${parent}`, `+${backend}\n`);
  const master = edge.nginx.pid()!;
  return { name: "Landfall's edge", host, port, pids: () => family(master), stop: () => edge.stop() };
};

/** nginx with one map from names to addresses: what a generated configuration would be. */
export const nginxMap: StartPeer = async ({ names, wildcards = [], backend }) => {
  const port = await freePort();
  const rows = [...names.map((name) => `${name} ${backend};`), ...wildcards.map((name) => `*.${name} ${backend};`)];
  const conf = `map_hash_max_size 1048576; map_hash_bucket_size 512;
    map $ssl_preread_server_name $backend { hostnames;\n${rows.join("\n")}\n}
    server { listen ${host}:${port} so_keepalive=60s:30s:4; ssl_preread on; proxy_pass $backend; }`;
  return startNginx("nginx, a map", port, conf);
};

/** nginx with an upstream block for each tenant. */
export const nginxUpstreams: StartPeer = async ({ names, backend }) => {
  const port = await freePort();
  const rows = names.map((name, index) => `${name} u${index};`);
  const blocks = names.map((_, index) => `upstream u${index} { server ${backend}; }`);
  const conf = `map_hash_max_size 1048576; map_hash_bucket_size 512;
    map $ssl_preread_server_name $backend { hostnames;\n${rows.join("\n")}\n}
    ${blocks.join("\n")}
    server { listen ${host}:${port} so_keepalive=60s:30s:4; ssl_preread on; proxy_pass $backend; }`;
  return startNginx("nginx, an upstream a tenant", port, conf);
};

async function startNginx(name: string, port: number, servers: string): Promise<Peer> {
  const dir = scratch();
  const modules = nginxHere()
    .modules.map((module) => `load_module ${module};`)
    .join("\n");
  writeFileSync(
    path.join(dir, "nginx.conf"),
    `${modules}\nworker_processes 1; pid ${dir}/pid; error_log ${dir}/error.log crit; daemon off;
    worker_rlimit_nofile 16384; events { worker_connections 8192; }
    stream { access_log off; preread_buffer_size 16k; proxy_buffer_size 64k; preread_timeout 3s; proxy_connect_timeout 2s; proxy_timeout 24h; proxy_socket_keepalive on; tcp_nodelay on; ${servers} }`,
  );
  const child = spawn("nginx", ["-p", dir, "-e", path.join(dir, "error.log"), "-c", path.join(dir, "nginx.conf")], {
    stdio: "ignore",
  });
  return ready({ name, host, port, pids: () => family(child.pid!), stop: () => end(child, dir) }, child);
}

/** HAProxy with a map that its runtime API can change. */
export const haproxy: StartPeer = async ({ names, wildcards = [], backend }) => {
  const dir = scratch();
  const port = await freePort();
  const [address = "", backendPort = ""] = backend.split(":");
  mkdirSync(dir, { recursive: true });
  writeFileSync(path.join(dir, "names.map"), names.map((name) => `${name} ${address}\n`).join(""));
  writeFileSync(path.join(dir, "wild.map"), wildcards.map((name) => `.${name} ${address}\n`).join(""));
  writeFileSync(
    path.join(dir, "haproxy.cfg"),
    `global
  nbthread 1
  maxconn 8192
  stats socket ${dir}/api.sock level admin
defaults
  mode tcp
  timeout connect 2s
  timeout client 24h
  timeout server 24h
frontend tls
  bind ${host}:${port}
  tcp-request inspect-delay 3s
  tcp-request content set-var(sess.to) req.ssl_sni,lower,map_str(${dir}/names.map)
  tcp-request content set-var(sess.to) req.ssl_sni,lower,map_end(${dir}/wild.map) if !{ var(sess.to) -m found }
  tcp-request content accept if { req.ssl_hello_type 1 } { var(sess.to) -m found }
  tcp-request content reject if { req.ssl_hello_type 1 }
  default_backend any
backend any
  tcp-request content set-dst var(sess.to)
  server any 0.0.0.0:${backendPort}
`,
  );
  const child = spawn("haproxy", ["-db", "-f", path.join(dir, "haproxy.cfg")], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  return ready(
    { name: "HAProxy, runtime maps", host, port, pids: () => family(child.pid!), stop: () => end(child, dir) },
    child,
  );
};

/** No proxy at all. */
export const direct: StartPeer = async ({ backend }) => {
  const [address = "", port = ""] = backend.split(":");
  return { name: "direct", host: address, port: Number(port), pids: () => [], stop: async () => {} };
};

async function ready(peer: Peer, child: ChildProcess): Promise<Peer> {
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
  for (const pid of family(child.pid!).reverse()) kill(pid);
  await gone;
  rmSync(dir, { recursive: true, force: true });
}

/** A process and its children. */
function family(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
  return [pid, ...(children === "" ? [] : children.split(" ").map(Number))];
}

export async function freePort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** CPU time that a process has had, µs. */
export const cpuOf = (pid: number) => Number(readFileSync(`/proc/${pid}/schedstat`, "utf8").split(" ")[0]) / 1000;
