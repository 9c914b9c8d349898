/** Hostile input to an edge must not leave the routes' folder, fill a log, or stop other users. */
import { execFileSync, spawn } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import type net from "node:net";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { capacityOf } from "../../edge/agent/capacity.ts";
import { memoryBytes } from "../../edge/agent/machine.ts";
import { StandaloneEdge, structureOn } from "../../local/edges/standalone.ts";
import { clientHello } from "../fixtures/client-hello.ts";
import { type Backend, connect, firstAnswer, freePort, startBackend, visit } from "../fixtures/sockets.ts";
import { eventually } from "../local/harness.ts";

let edge: StandaloneEdge;
let port: number;
let raw: number;
let good: Backend;
/** The backend of every file outside the routes' folders: no connection may ever reach it. */
let forbidden: Backend;
const connections = 512;
const { perSource: sourceMax } = capacityOf({ memoryBytes: memoryBytes(), connectionsMax: connections, listening: 4 });
const known = "a.example.com";
const log = (name: string) => readFileSync(path.join(edge.routes, "../logs", name), "utf8");
const works = async (from = "127.0.0.1") => (await visit(clientHello({ name: known }), { port, from })) === "good";

beforeAll(async () => {
  [good, forbidden] = await Promise.all([startBackend("good"), startBackend("forbidden")]);
  [port, raw] = [await freePort(), await freePort()];
  const dir = mkdtempSync(path.join(os.tmpdir(), "landfall-hostile-"));
  chmodSync(dir, 0o755);
  const structure = structureOn({ edgeTlsPort: port, portBase: raw, portCount: 1 });
  edge = await StandaloneEdge.start({ dir, structure: { ...structure, healthPort: await freePort() }, connections });
  edge.write(`n/${known}`, `7 acme\n+${good.address}\n`);
  edge.write("w/example.com", `7 acme\n+${good.address}\n`);
  for (const file of ["outside", "../outside", "n~", "n/x~y", "n/b.org@x", "n/space d"])
    edge.write(file, `7 acme\n+${forbidden.address}\n`);
  mkdirSync(path.join(edge.routes, "n/deeper"));
  edge.write("n/deeper/inside", `7 acme\n+${forbidden.address}\n`);
  writeFileSync("/tmp/landfall-hostile-outside", `7 acme\n+${forbidden.address}\n`);
});
afterAll(async () => {
  await edge?.stop();
  good?.close();
  forbidden?.close();
});

describe("a server name", () => {
  it.each([
    ["a path to a parent folder", "../outside"],
    ["a path to a parent folder below a wildcard", "x.../../outside"],
    ["a longer path to parent folders", "../../../../../../tmp/landfall-hostile-outside"],
    ["an absolute path", "/tmp/landfall-hostile-outside"],
    ["a file in a subfolder", "deeper/inside"],
    ["a known name with a slash before it", `./${known}`],
    ["a known name after NUL", `\0${known}`],
    ["a known name before NUL", `${known}\0`],
    ["a known name before NUL and more", `${known}\0.evil.org`],
    ["a dot", "."],
    ["two dots", ".."],
    ["a known name with two dots at its end", `${known}..`],
    ["a name with an empty label", "a..example.com"],
    ["a name with a forbidden character", "x~y"],
    ["a name with an ALPN entry behind it", "b.org@x"],
    ["a name with a space", "space d"],
    ["a known name with a newline", `${known}\n`],
    ["a name with bytes above ASCII", "\xff\xfe.example.com"],
    ["254 characters", `${"a".repeat(242)}.example.com`],
    ["255 characters", `${"a.".repeat(121)}a.example.com`],
    ["4,000 characters", "a".repeat(4000)],
    ["the name of a folder", "deeper"],
    ["empty", ""],
  ])("that is %s leads nowhere", async (_, name) => {
    expect(await visit(clientHello({ name }), { port })).toBe("closed");
  });

  it("made of any pieces leads only to its own file's backend", async () => {
    const piece = fc.constantFrom(
      "..",
      ".",
      "/",
      "\0",
      "a",
      "A",
      "example",
      "com",
      "outside",
      "deeper",
      "inside",
      "n",
      "~",
    );
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 8 }), async (pieces) => {
        const name = pieces.join("");
        const plain = name.toLowerCase().replace(/\.$/, "");
        const leads = plain === known || /^[a-z0-9-]+\.example\.com$/.test(plain);
        expect(await visit(clientHello({ name }), { port })).toBe(leads ? "good" : "closed");
      }),
      { numRuns: 300, examples: [[["A.", "example", ".", "com", "."]], [["a", ".", "example", ".", "com"]]] },
    );
    expect(forbidden.received).toHaveLength(0);
  });
});

describe("a first message", () => {
  it("in pieces of one byte is understood", async () => {
    const bytes = [...clientHello({ name: known })].map((byte) => Buffer.from([byte]));
    expect(await visit(bytes, { port })).toBe("good");
  });

  it("with four hundred unknown extensions is understood", async () => {
    expect(await visit(clientHello({ name: known, strangers: { count: 400, length: 20 } }), { port })).toBe("good");
  });

  it.each([17, 33, 64])("of %i KB, in several records and pieces, is understood and arrives as a whole", async (kb) => {
    const bytes = clientHello({ name: known, strangers: { count: kb, length: 1016 } });
    const pieces = Array.from({ length: Math.ceil(bytes.length / 3000) }, (_, i) =>
      bytes.subarray(i * 3000, i * 3000 + 3000),
    );
    const before = good.received.length;
    const socket = connect({ port });
    const answer = firstAnswer(socket);
    for (const piece of pieces) {
      await new Promise((resolve) => socket.write(piece, resolve));
      await sleep(5);
    }
    expect((await answer).slice(0, 4)).toBe("good");
    await eventually(
      () => good.received[before]!.length,
      (length) => length === bytes.length,
    );
    expect(good.received[before]).toEqual(bytes);
    socket.destroy();
  });

  it("with a ticket that has a client certificate of 17 KB in it is understood (OpenSSL: New, then Reused)", async () => {
    const dir = mkdtempSync(path.join(os.tmpdir(), "landfall-tickets-"));
    const file = (name: string) => path.join(dir, name);
    const names = Array.from({ length: 300 }, (_, at) => `DNS:${"n".repeat(50)}${at}.example.com`).join();
    for (const [name, ...more] of [["server"], ["client", "-addext", `subjectAltName=${names}`]] as [
      string,
      ...string[],
    ][]) {
      const files = ["-keyout", file(`${name}.key`), "-out", file(`${name}.crt`), "-subj", `/CN=${name}`];
      execFileSync(
        "openssl",
        ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", ...files, ...more],
        { stdio: "pipe" },
      );
    }
    const backend = await freePort();
    const own = ["-cert", file("server.crt"), "-key", file("server.key"), "-CAfile", file("client.crt")];
    const server = spawn("openssl", [
      "s_server",
      "-accept",
      `127.0.0.1:${backend}`,
      "-tls1_3",
      "-Verify",
      "2",
      "-rev",
      ...own,
    ]);
    edge.write("n/tickets.example.com", `7 acme\n+127.0.0.1:${backend}\n`);
    const visitWith = (...session: string[]) =>
      new Promise<string>((resolve) => {
        const where = ["-connect", `127.0.0.1:${port}`, "-servername", "tickets.example.com", "-tls1_3"];
        const identity = ["-cert", file("client.crt"), "-key", file("client.key")];
        const client = spawn("openssl", ["s_client", ...where, ...identity, ...session]);
        let said = "";
        client.stdout.on("data", (chunk) => {
          said += chunk;
          if (said.includes("olleh")) client.stdin.end(); // the ticket came before the answer
        });
        client.stdin.write("hello\n");
        client.on("close", () => resolve(/(New|Reused), TLSv1.3/.exec(said)?.[1] ?? said));
      });
    try {
      await eventually(
        () => visitWith("-sess_out", file("session")),
        (said) => said === "New",
      );
      expect(statSync(file("session")).size).toBeGreaterThan(17_000);
      expect(await visitWith("-sess_in", file("session"))).toBe("Reused");
    } finally {
      server.kill();
      rmSync(dir, { recursive: true });
    }
  });

  it("that takes eight seconds is understood", async () => {
    const bytes = clientHello({ name: known });
    const socket = connect({ port });
    const answer = firstAnswer(socket, 11_000);
    for (let at = 0; at < 8; at++, await sleep(1000)) socket.write(bytes.subarray(at, at + 1));
    socket.write(bytes.subarray(8));
    expect(await answer).toBe("good");
    socket.destroy();
  }, 15_000);

  it.each([
    ["without a server name", () => clientHello({})],
    ["larger than the preread buffer", () => clientHello({ name: known, strangers: { count: 14, length: 5000 } })],
    ["that is not TLS", () => Buffer.from("GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n")],
    ["of SSLv2", () => Buffer.from([0x80, 0x2e, 0x01, 0x00, 0x02, 0x00, 0x15, 0, 0, 0, 0x10])],
    ["of zeros", () => Buffer.alloc(20_000)],
  ])("%s leads nowhere", async (_, bytes) => {
    expect(await visit(bytes(), { port, within: 4000 })).toBe("closed");
  });

  it("with any byte changed, or cut anywhere, reaches no other backend and harms no other user", async () => {
    const whole = clientHello({ name: known });
    await fc.assert(
      fc.asyncProperty(
        fc.nat(whole.length - 1),
        fc.integer({ min: 0, max: 255 }),
        fc.boolean(),
        async (at, to, cut) => {
          const bytes = Buffer.from(cut ? whole.subarray(0, at) : whole);
          if (!cut) bytes[at] = to;
          const answer = await visit(bytes, { port, within: 50 });
          expect(["good", "closed", "silence"]).toContain(answer);
        },
      ),
      { numRuns: 150 },
    );
    expect(forbidden.received).toHaveLength(0);
    expect(await works()).toBe(true);
  });
});

describe("clients that only hold connections", () => {
  const crowd = (count: number, from: string, first?: Uint8Array) =>
    Array.from({ length: count }, () => {
      const socket = connect({ port, from });
      if (first !== undefined) socket.write(first);
      return socket;
    });
  const closed = (sockets: net.Socket[]) =>
    Promise.all(sockets.map(async (socket) => (await firstAnswer(socket, 13_000)) === "closed"));

  it("are closed within seconds if they send nothing, while others are served", async () => {
    const silent = crowd(40, "127.0.0.2");
    expect(await works()).toBe(true);
    expect(await closed(silent)).not.toContain(false);
  }, 20_000);

  it("are closed too if they send a byte a second", async () => {
    const slow = crowd(10, "127.0.0.3");
    const bytes = clientHello({ name: known });
    const talk = (async () => {
      for (let at = 0; at < 12; at++, await sleep(1000))
        for (const socket of slow) socket.write(bytes.subarray(at, at + 1));
    })();
    expect(await closed(slow)).not.toContain(false);
    await talk;
  }, 20_000);

  it("cost little memory, and others nothing, if two thousand of one source stop in the middle of 64 KB", async () => {
    const dir = mkdtempSync(path.join(os.tmpdir(), "landfall-slow-"));
    chmodSync(dir, 0o755);
    const [own, slots] = [await freePort(), await freePort()];
    const structure = structureOn({ edgeTlsPort: own, portBase: slots, portCount: 1 });
    const large = await StandaloneEdge.start({ dir, structure, connections: 16_500 });
    try {
      large.write(`n/${known}`, `7 acme\n+${good.address}\n`);
      const [worker] = readFileSync(`/proc/${large.nginx.pid()}/task/${large.nginx.pid()}/children`, "utf8").split(" ");
      const held = () => Number(/^Pss:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${worker}/smaps_rollup`, "utf8"))![1]);
      const before = held();
      const half = clientHello({ name: known, strangers: { count: 60, length: 1000 } }).subarray(0, 30_000);
      const slow = Array.from({ length: 2000 }, () => connect({ port: own, host: "127.0.0.1", from: "127.0.0.5" }));
      await Promise.all(slow.map((socket) => new Promise((resolve) => socket.write(half, resolve))));
      await eventually(
        () => held() - before,
        (kilobytes) => kilobytes > 2000 * 20, // all are read
      );
      expect((held() - before) / 2000).toBeLessThan(45);
      const others = Array.from({ length: 50 }, () => visit(clientHello({ name: known }), { port: own, within: 1000 }));
      expect(new Set(await Promise.all(others))).toEqual(new Set(["good"]));
      for (const socket of slow) socket.destroy();
    } finally {
      await large.stop();
    }
  });

  it("leave room for others when one source floods the edge", async () => {
    const flood = crowd(300, "127.0.0.4", clientHello({ name: known }));
    const answers = await Promise.all(flood.map((socket) => firstAnswer(socket)));
    expect(answers.filter((answer) => answer === "good")).toHaveLength(sourceMax);
    expect(answers.filter((answer) => answer === "closed")).toHaveLength(300 - sourceMax);
    expect(await works()).toBe(true);
    for (const socket of flood) socket.destroy();
    await eventually(
      () => log("ended.log").split("\n"),
      (lines) => lines.filter((line) => line === "limit").length === 300 - sourceMax,
    );
  });
});

describe("the logs", () => {
  it("get no line for a connection that leads nowhere", async () => {
    const before = log("ended.log").length;
    await sleep(1500); // until buffered lines are written
    const settled = log("ended.log").length;
    for (let i = 0; i < 300; i++) await visit(clientHello({ name: `n${i}.nobody.org` }), { port });
    await sleep(1500);
    expect(log("error.log")).toBe("");
    expect(log("ended.log").length).toBe(settled);
    expect(settled).toBeGreaterThanOrEqual(before);
  });
});
