/** Sessions whose client or backend has gone, or hangs, with a real agent and a real nginx. Six seconds stand for ninety. */
import { execFile, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdtempSync, readlinkSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Sockets } from "../../edge/agent/sessions/sockets.ts";
import type { LocalEdge } from "../../local/edges/edge.ts";
import { structureOn } from "../../local/edges/standalone.ts";
import { clientHello } from "../fixtures/client-hello.ts";
import { Region, removeDir, tlsRoute } from "../fixtures/region.ts";
import { type Backend, connect, firstAnswer, startBackend, visit } from "../fixtures/sockets.ts";
import { eventually } from "../local/harness.ts";

const address = `127.96.${(process.pid % 250) + 1}.1`;
const tls = 8443;
const goneSeconds = 6;
/** What the issue allows for ninety seconds is two minutes. */
const freedMs = (goneSeconds * 1000 * 120) / 90;
const sockets = new Sockets(address, ["ss"]);
const hello = (tenant: string) => clientHello({ name: `${tenant}.example.com` });

let dir: string;
let region: Region;
let edge: LocalEdge;
const backends: Record<string, Backend> = {};

/** Answers a connection's first bytes with `label`, and then neither reads nor ends. */
async function startStuck(label: string): Promise<Backend> {
  const open: net.Socket[] = [];
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    open.push(socket);
    socket.on("error", () => {}); // the edge ended it
    socket.once("data", () => {
      socket.pause();
      socket.write(label);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as net.AddressInfo;
  const close = () => {
    server.close();
    for (const socket of open) socket.destroy();
  };
  return { address: `127.0.0.1:${port}`, received: [], close };
}

/** Answers the first bytes, and after the client's end says `word` once in `everyMs`, so many times. */
async function startTalker(everyMs: number, times: number): Promise<Backend> {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => {}); // seen by the client
    socket.once("data", () => socket.write("T")).resume();
    socket.once("end", async () => {
      for (let i = 0; i < times; i++) {
        await sleep(everyMs);
        socket.write("word");
      }
      socket.end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as net.AddressInfo;
  return { address: `127.0.0.1:${port}`, received: [], close: () => void server.close() };
}

async function open(tenant: string): Promise<net.Socket> {
  const socket = connect({ port: tls, host: address });
  socket.write(hello(tenant));
  expect(await firstAnswer(socket)).not.toBe("closed");
  return socket;
}

/** nginx's connections to a tenant's backend. */
const held = async (tenant: string) => (await sockets.upstreams([backends[tenant]!.address])).length;
/** Waits until nginx holds none, and says how long that took, ms. */
async function freed(tenant: string): Promise<number> {
  const began = Date.now();
  await eventually(
    () => held(tenant),
    (count) => count === 0,
    freedMs + 5000,
  );
  return Date.now() - began;
}
const metric = async (name: string, label = "{") => {
  const text = await (await fetch(`http://${address}:8080/metrics`)).text();
  const line = text.split("\n").find((one) => one.startsWith(`landfall_${name}{`) && one.includes(label));
  return Number(line?.slice(line.lastIndexOf(" ") + 1) ?? 0);
};

beforeAll(async () => {
  dir = mkdtempSync(path.join(os.tmpdir(), "landfall-ends-"));
  chmodSync(dir, 0o755);
  const sessions = { graceSeconds: 1, quietSeconds: 1, closeSeconds: 1, goneSeconds };
  const ports = { edgeTlsPort: tls, portBase: 10_000, portCount: 20 };
  region = await Region.start({ ...structureOn(ports), healthPort: 8080, sessions });
  for (const tenant of ["reset", "fin", "silent", "stalled", "many"]) backends[tenant] = await startStuck(tenant);
  for (const tenant of ["idle", "good"]) backends[tenant] = await startBackend(tenant);
  backends.talks = await startTalker(1000, 10);
  backends.waits = await startTalker(goneSeconds * 2000, 1);
  backends.zombie = await startStuck("never said");
  const routes = Object.entries(backends).map(([tenant, backend], index) =>
    tlsRoute(20_000 + index, tenant, `${tenant}.example.com`, backend.address),
  );
  region.publish(routes);
  edge = await region.edge(dir, address);
  edge.start();
  await eventually(
    () => visit(hello("good"), { port: tls, host: address }).catch(() => ""),
    (answer) => answer === "good",
  );
});
afterAll(async () => {
  await edge?.stop();
  await region?.stop();
  for (const backend of Object.values(backends)) backend.close();
  removeDir(dir);
});

describe.concurrent("a session whose backend hangs", () => {
  it("ends soon after its client's reset", async () => {
    const client = await open("reset");
    client.resetAndDestroy();
    expect(await freed("reset")).toBeLessThan(freedMs);
  });

  it("ends soon after its client closed, when the client's machine has forgotten the connection", async () => {
    // Linux waits a minute for our end, and answers for it. TCP_LINGER2 makes that a second.
    const script = `use Socket; socket(my $s, PF_INET, SOCK_STREAM, 0) or die;
      connect($s, pack_sockaddr_in(${tls}, inet_aton("${address}"))) or die;
      setsockopt($s, 6, 8, pack("i", 1)) or die; syswrite($s, pack("H*", $ARGV[0])); sysread($s, my $b, 10); close($s);`;
    await promisify(execFile)("perl", ["-e", script, hello("fin").toString("hex")]);
    expect(await held("fin")).toBe(1);
    expect(await freed("fin")).toBeLessThan(freedMs);
  });

  it("ends soon after its client was cut off, without a packet", async () => {
    // The client is in a network of its own, whose cable is pulled.
    const name = `landfall${process.pid % 1000}`;
    const network = `10.203.${(process.pid % 250) + 1}`;
    const [host, peer] = [`${network}.1`, `${network}.2`];
    const space = spawn("unshare", ["--net", "sleep", "60"], { stdio: "ignore" });
    const ip = (line: string) => execFileSync("ip", line.split(" "), { encoding: "utf8" });
    const inside = (...command: string[]) => ["-t", String(space.pid), "-n", ...command];
    const netOf = (pid: number | "self") => readlinkSync(`/proc/${pid}/ns/net`);
    const theirs = path.join(dir, "other");
    let other: LocalEdge | undefined;
    try {
      await eventually(
        () => netOf(space.pid!),
        (its) => its !== netOf("self"),
      );
      ip(`link add ${name} type veth peer name peer0 netns ${space.pid}`);
      ip(`addr add ${host}/30 dev ${name}`);
      ip(`link set ${name} up`);
      for (const line of [`addr add ${peer}/30 dev peer0`, "link set peer0 up"])
        execFileSync("nsenter", inside("ip", ...line.split(" ")));
      other = await region.edge(theirs, host);
      other.start();
      await eventually(
        () => visit(hello("good"), { port: tls, host }).catch(() => ""),
        (answer) => answer === "good",
      );
      const script = `$|=1; use Socket; socket(my $s, PF_INET, SOCK_STREAM, 0) or die;
        connect($s, pack_sockaddr_in(${tls}, inet_aton("${host}"))) or die $!;
        syswrite($s, pack("H*", $ARGV[0])); sysread($s, my $b, 10); print "open"; sleep 60;`;
      const client = spawn("nsenter", inside("perl", "-e", script, hello("silent").toString("hex")));
      await once(client.stdout, "data");
      execFileSync("nsenter", inside("ip", "link", "set", "peer0", "down"));
      const its = async () => (await new Sockets(host, ["ss"]).upstreams([backends.silent!.address])).length;
      expect(await its()).toBe(1);
      await eventually(its, (count) => count === 0, freedMs + 1000);
      client.kill("SIGKILL");
    } finally {
      await other?.stop();
      ip(`link del ${name}`); // its end in there stays as long as a connection does
      space.kill("SIGKILL");
    }
  });

  it("ends soon after its client's reset in the middle of an upload", async () => {
    const client = await open("stalled");
    client.write(Buffer.alloc(8 * 1024 * 1024));
    await sleep(1000);
    client.resetAndDestroy();
    expect(await freed("stalled")).toBeLessThan(freedMs);
  });

  it("costs its own tenant's limit until then, and users of other tenants nothing", async () => {
    const clients = await Promise.all(Array.from({ length: 200 }, () => open("many")));
    const waiting = await Promise.all(Array.from({ length: 5 }, () => open("many")));
    for (const client of clients) client.resetAndDestroy();
    await sleep(2500);
    expect(await metric("sessions_orphaned")).toBeGreaterThanOrEqual(200);
    expect(await visit(hello("good"), { port: tls, host: address })).toBe("good");
    await eventually(
      () => held("many"),
      (count) => count === waiting.length,
      freedMs + 5000,
    );
    expect(waiting.every((client) => !client.destroyed && client.readable)).toBe(true);
    expect(await metric("sessions_closed_total", "orphaned")).toBeGreaterThanOrEqual(200);
    for (const client of waiting) client.destroy();
  });
});

describe.concurrent("a session that lives", () => {
  it("goes on after it was idle for longer than a client may be silent", async () => {
    const client = await open("idle");
    await sleep(goneSeconds * 2500);
    client.write("key");
    expect(await firstAnswer(client)).toBe("key");
    client.destroy();
  });

  it.each([
    ["talks", "word".repeat(10), "whose backend goes on speaking"],
    ["waits", "word", "whose backend thinks for longer than a client may be silent"],
  ])("goes on after its client's half-close (%s)", async (tenant, words) => {
    const client = await open(tenant);
    let got = "";
    client.on("data", (chunk) => {
      got += chunk;
    });
    client.end();
    await once(client, "end");
    expect(got).toBe(words);
  });
});

describe.concurrent("a backend", () => {
  it("that takes connections and says nothing loses its users to the next region within 10 s, until it speaks", async () => {
    const far = backends.good!.address;
    const route = region.routes.find(({ tenantId }) => tenantId === "zombie")!;
    const silent = net.createServer(() => {});
    let isAlive = false;
    const near = net.createServer((socket) => {
      socket.on("error", () => {}); // of checks
      if (isAlive) socket.on("data", () => socket.write("near"));
    });
    await Promise.all([silent, near].map((server) => new Promise<void>((done) => server.listen(0, "127.0.0.1", done))));
    const { port } = near.address() as net.AddressInfo;
    const moved = { ...route, generation: 2, backends: { "us-west-2": [`127.0.0.1:${port}`], "us-west-9": [far] } };
    region.publish(region.routes.map((one) => (one === route ? moved : one)));
    const answer = () => visit(hello("zombie"), { port: tls, host: address, within: 1500 }).catch(() => "");
    const began = Date.now();
    await eventually(answer, (text) => text === "silence"); // the change has come
    await eventually(answer, (text) => text === "good", 10_000);
    expect(Date.now() - began).toBeLessThan(12_000);
    isAlive = true;
    await eventually(answer, (text) => text === "near", 20_000);
    silent.close();
    near.close();
  });
});
