/** The structure on real nginx: where each server name and port leads, and what nginx logs about it. */
import { chmodSync, mkdtempSync, readFileSync, statSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { NginxLogs } from "../../edge/agent/nginx/logs.ts";
import { StandaloneEdge, structureOn } from "../../local/edges/standalone.ts";
import { clientHello } from "../fixtures/client-hello.ts";
import { type Backend, connect, firstAnswer, freePort, startBackend, visit } from "../fixtures/sockets.ts";
import { eventually } from "../local/harness.ts";

let edge: StandaloneEdge;
let tls: number;
let raw: number;
let a: Backend;
let b: Backend;
let six: Backend;
const scratch = () => {
  const dir = mkdtempSync(path.join(os.tmpdir(), "landfall-router-"));
  chmodSync(dir, 0o755);
  return dir;
};
const hello = (name: string, port = tls, host?: string) =>
  visit(clientHello({ name }), { port, ...(host === undefined ? {} : { host }) });
const log = (name: string) => readFileSync(path.join(edge.routes, "..", name), "utf8");

beforeAll(async () => {
  [a, b, six] = await Promise.all([startBackend("A"), startBackend("B"), startBackend("six", "::1")]);
  tls = await freePort();
  raw = await freePort();
  const structure = structureOn({ edgeTlsPort: tls, portBase: raw, portCount: 1 });
  edge = await StandaloneEdge.start({ dir: scratch(), structure: { ...structure, healthPort: await freePort() } });
  edge.write("n/a.example.com", `7 acme\n+${a.address}\n`);
  edge.write("w/example.com", `7 acme\n+${b.address}\n`);
  edge.write("n/six.example.com", `7 acme\n+${six.address}\n`);
  edge.write("n/dead.example.com", `7 acme\n+127.0.0.1:${await freePort()}\n`);
  edge.write("n/two.example.com", `7 acme\n+${a.address}\n+${b.address}\n\n-${six.address}\n`);
  edge.write("n/down.example.com", `7 acme\n-${b.address}\n\n-${a.address}\n`);
  edge.write(`p/${raw}`, `7 acme\n+${b.address}\n`);
});
afterAll(async () => {
  await edge?.stop();
  for (const backend of [a, b, six]) backend?.close();
});

describe("a server name", () => {
  it.each([
    ["a.example.com", "A", "an exact name wins over a wildcard that covers it"],
    ["A.Example.COM", "A", "in any case"],
    ["a.example.com.", "A", "with a trailing dot"],
    ["other.example.com", "B", "one label below a wildcard"],
    ["a.b.example.com", "closed", "two labels below"],
    ["example.com", "closed", "the wildcard's parent itself"],
    ["nobody.org", "closed", "unknown"],
    ["six.example.com", "six", "with a backend on IPv6"],
    ["down.example.com", "B", "all backends are down, so the first is tried"],
  ])("%s gets the answer %s (%s)", async (name, answer) => {
    expect(await hello(name)).toBe(answer);
  });

  it("is found over IPv6 too", async () => {
    expect(await hello("a.example.com", tls, "::1")).toBe("A");
  });

  it("with two healthy backends leads to both, and to none of the others", async () => {
    const answers = new Set<string>();
    for (let i = 0; i < 40; i++) answers.add(await hello("two.example.com"));
    expect([...answers].sort()).toEqual(["A", "B"]);
  });

  it("leads the next connection elsewhere once its file has changed", async () => {
    edge.write("n/moves.example.com", `7 acme\n+${a.address}\n`);
    const before = await hello("moves.example.com");
    edge.write("n/moves.example.com", `7 acme\n+${b.address}\n`);
    expect([before, await hello("moves.example.com")]).toEqual(["A", "B"]);
  });
});

describe("a raw slot", () => {
  it("is found by its port, and the client does not have to send first", async () => {
    expect(await visit(Buffer.from("SSH-2.0-x\r\n"), { port: raw })).toBe("B");
  });
});

describe("a connection", () => {
  it("reaches the backend byte for byte", async () => {
    const sent = clientHello({ name: "a.example.com" });
    const before = a.received.length;
    expect(await visit(sent, { port: tls })).toBe("A");
    expect(a.received[before]).toEqual(sent);
  });

  it("may be half closed: the backend's later bytes still arrive", async () => {
    const socket = connect({ port: tls });
    socket.write(clientHello({ name: "a.example.com" }));
    expect(await firstAnswer(socket)).toBe("A");
    socket.end();
    expect(await firstAnswer(socket)).toBe("bye");
  });

  it("is logged with its route, backend and client before it is used", async () => {
    const socket = connect({ port: tls });
    await new Promise((resolve) => socket.once("connect", resolve));
    const client = ` ${socket.localAddress} ${socket.localPort} ${tls}`;
    socket.write(clientHello({ name: "x.example.com" }));
    expect(await firstAnswer(socket)).toBe("B");
    const lines = log("sessions/opened").split("\n");
    const [line = "", ...more] = lines.filter((one) => one.endsWith(client));
    expect([more, line.replace(/ \d+( \S+ \d+ \d+)$/, "$1")]).toEqual([[], `7 acme ${b.address}${client}`]);
    socket.destroy();
    const ended = await eventually(
      () =>
        log("logs/ended.log")
          .split("\n")
          .find((one) => one.includes(`${client} `)),
      (line) => line !== undefined,
    );
    const [slot, tenant, connection] = ended!.split(" ");
    expect([slot, tenant, connection]).toEqual(["7", "acme", line.split(" ")[3]]);
    const [received, sent] = ended!.split(" ").slice(7);
    expect([Number(received), Number(sent)]).toEqual([clientHello({ name: "x.example.com" }).length, "Bbye".length]);
  });

  it("is proxied even if it can't be logged", async () => {
    const opened = path.join(edge.routes, "../sessions/opened");
    chmodSync(opened, 0o444);
    try {
      const size = statSync(opened).size;
      expect(await hello("a.example.com")).toBe("A");
      if (process.getuid?.() === 0) {
        expect(statSync(opened).size).toBe(size);
        expect((await edge.nginx.probe())?.notes).toBe(false);
      }
    } finally {
      chmodSync(opened, 0o666);
    }
  });

  it("that no backend accepts is reported to the agent at once", async () => {
    const logs = new NginxLogs(path.join(edge.routes, ".."), undefined, () => {});
    expect(await hello("dead.example.com")).toBe("closed");
    const dead = readFileSync(path.join(edge.routes, "n/dead.example.com"), "utf8").split("+")[1]!.trim();
    expect(logs.readFailed()).toEqual([dead]);
    expect(await hello("a.example.com")).toBe("A");
    expect(logs.readFailed()).toEqual([]);
  });
});

describe("the agent's probe", () => {
  it("gets the answer `unreadable` from a worker that can't read the routes", async () => {
    const ready = path.join(edge.routes, "ready");
    chmodSync(ready, 0o000);
    try {
      const answer = await edge.nginx.probe();
      if (process.getuid?.() === 0) expect(answer).toMatchObject({ ready: "unreadable" });
    } finally {
      chmodSync(ready, 0o644);
    }
    expect(await edge.nginx.probe()).toMatchObject({ ready: "ready", notes: true });
  });
});
