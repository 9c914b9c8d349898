/** The router on real nginx: names that clients derive, ALPN, clients that ask for TLS first, and a route's options. */
import { chmodSync, mkdtempSync, readFileSync, statSync, writeFileSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { allowOption } from "../../edge/agent/routes/content.ts";
import { Refusals } from "../../edge/agent/sessions/refusals.ts";
import { StandaloneEdge, structureOn } from "../../local/edges/standalone.ts";
import { clientHello } from "../fixtures/client-hello.ts";
import {
  type Backend,
  connect,
  firstAnswer,
  freePort,
  sslRequest,
  startAsked,
  startBackend,
  visit,
} from "../fixtures/sockets.ts";
import { eventually } from "../local/harness.ts";

let edge: StandaloneEdge;
let tls: number;
let raw: number;
let a: Backend;
let b: Backend;
let c: Backend;
let pg: Backend;
let refusals: Refusals;

const hello = (name: string, alpn?: string[], from?: string, host?: string) =>
  visit(clientHello({ name, ...(alpn === undefined ? {} : { alpn }) }), {
    port: tls,
    ...(from === undefined ? {} : { from }),
    ...(host === undefined ? {} : { host }),
  });
const hexOf = (name: string) => `${Buffer.from(name).toString("hex")}.teleport.cluster.local`;
const long = `${"long-".repeat(12)}name.a.example.com`;
const template = "kube-teleport-proxy-alpn.{name}";

beforeAll(async () => {
  const dir = mkdtempSync(path.join(os.tmpdir(), "landfall-options-"));
  chmodSync(dir, 0o755);
  [a, b, c, pg] = await Promise.all([startBackend("A"), startBackend("B"), startBackend("C"), startAsked("PG")]);
  [tls, raw] = [await freePort(), await freePort()];
  edge = await StandaloneEdge.start({
    dir,
    structure: {
      ...structureOn({ edgeTlsPort: tls, portBase: raw, portCount: 1 }),
      healthPort: await freePort(),
      derivedNames: [template, "{hex}.teleport.cluster.local"],
      sharedNames: ["teleport.cluster.local"],
    },
  });
  edge.write("n/a.example.com", `7 acme\n+${a.address}\n`);
  edge.write("n/pg.example.com", `9 data\n+${pg.address}\n`);
  edge.write("w/example.com", `7 acme\n+${b.address}\n`);
  edge.write(`n/${long}`, `7 acme\n+${a.address}\n`);
  edge.write("n/kube-teleport-proxy-alpn.own.example.com", `7 acme\n+${c.address}\n`);
  edge.write("n/own.example.com", `7 acme\n+${a.address}\n`);
  refusals = new Refusals(path.join(dir, "run"), undefined);
});
afterAll(async () => {
  await edge?.stop();
  for (const backend of [a, b, c, pg]) backend?.close();
});

describe("a name that clients derive from a tenant's", () => {
  it.each([
    ["kube-teleport-proxy-alpn.a.example.com", "A", "below the name"],
    ["KUBE-Teleport-Proxy-ALPN.a.example.com.", "A", "in any case, with a trailing dot"],
    ["kube-teleport-proxy-alpn.own.example.com", "C", "an exact name wins"],
    ["kube-teleport-proxy-alpn.other.example.com", "B", "of a name under a wildcard"],
    ["kube-teleport-proxy-alpn.example.com", "B", "of the wildcard's parent, which leads nowhere: under the wildcard"],
    ["kube-teleport-proxy-alpn.nobody.org", "closed", "of an unknown name"],
    ["kube-teleport-proxy-alpn.kube-teleport-proxy-alpn.a.example.com", "closed", "of a derived name"],
    [hexOf("a.example.com"), "A", "in hexadecimal digits"],
    [hexOf("a.example.com").toUpperCase(), "A", "in upper case"],
    [hexOf(long), "A", "as a label of 158 bytes"],
    [hexOf("other.example.com"), "B", "in hexadecimal digits, under a wildcard"],
    [hexOf("../n/a.example.com"), "closed", "with a path in it"],
    [hexOf("a.example.com\0"), "closed", "with a NUL in it"],
    [hexOf("a.example.com\n"), "closed", "with a line end in it"],
    ["613.teleport.cluster.local", "closed", "with half a byte"],
    ["zz.teleport.cluster.local", "closed", "that is no number"],
    ["x.teleport.cluster.local.example.com", "closed", "that does not end with the domain"],
    ["my_app.example.com", "B", "an underscore under a wildcard is a name"],
  ])("%s gets the answer %s (%s)", async (name, answer) => {
    expect(await hello(name)).toBe(answer);
  });
});

describe("a name that all tenants share", () => {
  it.each([
    [["teleport-auth@a.example.com"], "A"],
    [["h2", `teleport-auth@${hexOf("a.example.com")}`], "A"],
    [["teleport-auth@A.Example.com"], "A"],
    [["teleport-auth@other.example.com"], "B"],
    [["teleport-auth@nobody.org", "teleport-auth@a.example.com"], "A"],
    [["teleport-auth@../n/a.example.com"], "closed"],
    [["a.example.com"], "closed"],
    [["@a.example.com"], "closed"],
    [[...Array.from({ length: 8 }, (_, i) => `x@nobody${i}.org`), "teleport-auth@a.example.com"], "closed"],
  ])("with ALPN %j gets the answer %s", async (alpn, answer) => {
    expect(await hello("teleport.cluster.local", alpn)).toBe(answer);
  });

  it("leads nowhere without ALPN", async () => {
    expect(await hello("teleport.cluster.local")).toBe("closed");
  });

  it("is only the name itself: ALPN changes nothing at a tenant's own name", async () => {
    expect(await hello("a.example.com", ["teleport-auth@other.example.com"])).toBe("A");
  });
});

describe("a route by ALPN", () => {
  beforeAll(() => {
    edge.write("n/db.example.com@postgresql", `8 acme\n+${c.address}\n`);
    edge.write("n/db.example.com", `8 acme alpn\n+${a.address}\n`);
    edge.write("w/db.example.com@postgresql", `8 acme\n+${c.address}\n`);
    edge.write("w/db.example.com", `8 acme alpn\n+${b.address}\n`);
  });

  it.each([
    ["db.example.com", ["postgresql"], "C"],
    ["db.example.com", ["h2", "postgresql"], "C"],
    ["db.example.com", ["h2", "http/1.1"], "A"],
    ["db.example.com", ["POSTGRESQL"], "A"],
    ["db.example.com", ["../db.example.com"], "A"],
    ["db.example.com", undefined, "A"],
    ["x.db.example.com", ["postgresql"], "C"],
    ["x.db.example.com", ["h2"], "B"],
    ["a.example.com", ["postgresql"], "A"],
  ])("at %s with %j gets the answer %s", async (name, alpn, answer) => {
    expect(await hello(name, alpn)).toBe(answer);
  });
});

describe("a client that asks for TLS first, as PostgreSQL's do", () => {
  const gssRequest = Buffer.from("0000000804d21630", "hex");
  const ask = async (socket: net.Socket, bytes: Uint8Array) => {
    const answer = firstAnswer(socket);
    socket.write(bytes);
    return answer;
  };

  it.each(["127.0.0.1", "::1"])("gets a yes, and is routed by the ClientHello that follows (%s)", async (host) => {
    const socket = connect({ port: tls, host });
    const before = pg.received.length;
    expect(await ask(socket, sslRequest)).toBe("S");
    expect(await ask(socket, clientHello({ name: "pg.example.com" }))).toBe("PG");
    expect(pg.received[before]).toEqual(Buffer.concat([sslRequest, clientHello({ name: "pg.example.com" })]));
    socket.end();
    expect(await firstAnswer(socket)).toBe("bye");
  });

  it("is closed when the backend has no TLS, or speaks first", async () => {
    const no = await startAsked("PG", "N");
    edge.write("n/no.example.com", `9 data\n+${no.address}\n`);
    const socket = connect({ port: tls });
    expect(await ask(socket, sslRequest)).toBe("S");
    expect(await ask(socket, clientHello({ name: "no.example.com" }))).toBe("closed");
    no.close();
  });

  it("is closed when it sends on and on before the backend answers", async () => {
    const mute = net.createServer((socket) => void socket.on("error", () => {}).resume());
    await new Promise<void>((resolve) => mute.listen(0, "127.0.0.1", resolve));
    edge.write("n/mute.example.com", `9 data\n+127.0.0.1:${(mute.address() as net.AddressInfo).port}\n`);
    const socket = connect({ port: tls });
    expect(await ask(socket, sslRequest)).toBe("S");
    socket.write(clientHello({ name: "mute.example.com" }));
    const answer = firstAnswer(socket, 5000);
    for (let sent = 0; sent < 20 && !socket.destroyed; sent++) {
      socket.write(Buffer.alloc(16_384));
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    expect(await answer).toBe("closed");
    socket.destroy();
    mute.close();
  });

  it("may ask for GSSAPI before, and gets a no", async () => {
    const socket = connect({ port: tls });
    expect(await ask(socket, gssRequest)).toBe("N");
    expect(await ask(socket, sslRequest)).toBe("S");
    expect(await ask(socket, clientHello({ name: "pg.example.com", alpn: ["postgresql"] }))).toBe("PG");
    socket.destroy();
  });

  it("may ask in pieces", async () => {
    const socket = connect({ port: tls });
    const answer = firstAnswer(socket);
    for (const byte of sslRequest) {
      socket.write(Buffer.from([byte]));
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    expect(await answer).toBe("S");
    expect(await ask(socket, clientHello({ name: "pg.example.com" }))).toBe("PG");
    socket.destroy();
  });

  it.each([
    ["what is not TLS afterwards", Buffer.from("Q\0\0\0\x0cselect 1")],
    ["an unknown name", clientHello({ name: "nobody.org" })],
    ["another question", sslRequest],
  ])("is closed after %s", async (_, bytes) => {
    const socket = connect({ port: tls });
    expect(await ask(socket, sslRequest)).toBe("S");
    expect(await ask(socket, bytes)).toBe("closed");
  });

  it("is closed after silence", async () => {
    const socket = connect({ port: tls });
    expect(await ask(socket, sslRequest)).toBe("S");
    expect(await firstAnswer(socket, 13_000)).toBe("closed");
  }, 20_000);

  it.each([
    ["HTTP", "GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n"],
    ["SSH", "SSH-2.0-OpenSSH_9.2\r\n"],
    ["an SSLRequest with more behind it", Buffer.concat([sslRequest, clientHello({ name: "pg.example.com" })])],
    ["a cancel request", Buffer.from("0000001004d2162e0000000100000002", "hex")],
  ])("is nobody else: %s is closed at once", async (_, bytes) => {
    const began = performance.now();
    expect(await visit(Buffer.from(bytes), { port: tls })).toBe("closed");
    expect(performance.now() - began).toBeLessThan(1000);
  });

  it("is noted with its own address, like any other", async () => {
    const socket = connect({ port: tls, from: "127.0.0.7" });
    expect(await ask(socket, sslRequest)).toBe("S");
    expect(await ask(socket, clientHello({ name: "pg.example.com" }))).toBe("PG");
    const client = `127.0.0.7 ${socket.localPort} ${tls}`;
    const opened = readFileSync(path.join(edge.routes, "../sessions/opened"), "utf8").split("\n");
    const line = opened.find((one) => one.endsWith(` ${client}`));
    expect(line).toMatch(new RegExp(`^9 data ${pg.address} \\d+ ${client}$`));
    socket.destroy();
    const ended = () => readFileSync(path.join(edge.routes, "../logs/ended.log"), "utf8").split("\n");
    await eventually(
      () => ended().filter((one) => one.includes(` ${client} `)),
      (lines) => lines.length === 1 && lines[0]!.startsWith(`9 data ${line!.split(" ")[3]} `),
    );
  });
});

describe("PROXY protocol", () => {
  const v2 = (text: string) => Buffer.from(text.replace(/\s/g, ""), "hex");
  const signature = "0d0a0d0a 000d0a51 5549540a";
  /** What a backend got first, from this client address, at this file's port. */
  const sentTo = async (file: string, from: string, host = "127.0.0.1") => {
    const before = a.received.length;
    const bytes = clientHello({ name: "p.example.com" });
    const port = file.startsWith("p/") ? raw : tls;
    const socket = connect({ port, from, host });
    socket.write(bytes);
    const got = await eventually(
      () => a.received[before] ?? Buffer.alloc(0),
      (some) => some.subarray(Math.max(0, some.length - bytes.length)).equals(bytes),
      2000,
    );
    socket.destroy();
    return got.subarray(0, got.length - bytes.length);
  };
  const kinds = [["n/p.example.com"], ["p/"]] as const;

  it.each(kinds)("has nothing for a backend that wants none (%s)", async (kind) => {
    const file = kind === "p/" ? `p/${raw}` : kind;
    edge.write(file, `7 acme\n+${a.address}\n`);
    expect((await sentTo(file, "127.0.0.9")).length).toBe(0);
  });

  it.each(kinds)("sends version 1 (%s)", async (kind) => {
    const file = kind === "p/" ? `p/${raw}` : kind;
    edge.write(file, `7 acme v1\n+${a.address}\n`);
    const port = kind === "p/" ? raw : tls;
    expect((await sentTo(file, "127.0.0.9")).toString()).toMatch(
      new RegExp(`^PROXY TCP4 127\\.0\\.0\\.9 127\\.0\\.0\\.1 \\d+ ${port}\r\n$`),
    );
    expect((await sentTo(file, "::1", "::1")).toString()).toMatch(new RegExp(`^PROXY TCP6 ::1 ::1 \\d+ ${port}\r\n$`));
  });

  it.each(kinds)("sends version 2 (%s)", async (kind) => {
    const file = kind === "p/" ? `p/${raw}` : kind;
    edge.write(file, `7 acme v2\n+${a.address}\n`);
    const port = (kind === "p/" ? raw : tls).toString(16).padStart(4, "0");
    const got = await sentTo(file, "127.0.0.9");
    expect(got.subarray(0, 24)).toEqual(v2(`${signature} 21 11 000c 7f000009 7f000001`));
    expect([got.length, got.subarray(26)]).toEqual([28, v2(port)]);
    const six = await sentTo(file, "::1", "::1");
    const loopback = `${"00".repeat(15)}01`;
    expect(six.subarray(0, 48)).toEqual(v2(`${signature} 21 21 0024 ${loopback} ${loopback}`));
    expect([six.length, six.subarray(50)]).toEqual([52, v2(port)]);
  });

  it.each(["v1", "v2"])("%s reaches a server that speaks first, before the client says anything", async (version) => {
    const server = net.createServer((socket) => {
      socket.on("error", () => {});
      socket.once("data", (chunk) => socket.write(`hello after ${chunk.length} bytes`));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as net.AddressInfo;
    edge.write(`p/${raw}`, `7 acme ${version}\n+127.0.0.1:${port}\n`);
    const socket = connect({ port: raw, from: "127.0.0.9" });
    expect(await firstAnswer(socket)).toMatch(/^hello after \d+ bytes$/);
    socket.destroy();
    server.close();
  });

  it.each(kinds)(
    "is switched with the port in one write, and no connection meets the wrong pair (%s)",
    async (kind) => {
      const file = kind === "p/" ? `p/${raw}` : kind;
      const isHeader = (bytes: Buffer) => bytes.subarray(0, 6).equals(Buffer.from("PROXY "));
      const picky = async (label: string, takes: (bytes: Buffer) => boolean) => {
        const server = net.createServer((socket) => {
          socket.on("error", () => {});
          socket.once("data", (chunk) => (takes(chunk) ? socket.write(label) : socket.destroy()));
        });
        await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
        return { server, address: `127.0.0.1:${(server.address() as net.AddressInfo).port}` };
      };
      const [demands, breaks] = await Promise.all([
        picky("with", isHeader),
        picky("without", (bytes) => !isHeader(bytes)),
      ]);
      const pairs = [`7 acme v1\n+${demands.address}\n`, `7 acme\n+${breaks.address}\n`];
      const port = kind === "p/" ? raw : tls;
      edge.write(file, pairs[0]!);
      let isOver = false;
      const answers: string[] = [];
      const user = async () => {
        while (!isOver) answers.push(await visit(clientHello({ name: "p.example.com" }), { port }));
      };
      const users = Array.from({ length: 8 }, user);
      for (let i = 0; i < 100; i++) {
        await new Promise((resolve) => setTimeout(resolve, 10));
        edge.write(file, pairs[i % 2]!);
      }
      isOver = true;
      await Promise.all(users);
      expect([...new Set(answers)].sort()).toEqual(["with", "without"]);
      for (const { server } of [demands, breaks]) server.close();
    },
  );

  it("carries the address of a client that asked for TLS first", async () => {
    edge.write("n/p.example.com", `9 data v1\n+${pg.address}\n`);
    const before = pg.received.length;
    const socket = connect({ port: tls, from: "127.0.0.9" });
    socket.write(sslRequest);
    expect(await firstAnswer(socket)).toBe("S");
    socket.write(clientHello({ name: "p.example.com" }));
    expect(await firstAnswer(socket)).toBe("PG");
    const header = pg.received[before]!.toString("latin1").split("\r\n")[0];
    expect(header).toBe(`PROXY TCP4 127.0.0.9 127.0.0.1 ${socket.localPort} ${tls}`);
    socket.destroy();
  });
});

describe("affinity by source", () => {
  const sources = Array.from({ length: 40 }, (_, i) => `127.0.1.${i + 1}`);
  const choices = async () => {
    const chosen = new Map<string, string>();
    for (const from of sources) chosen.set(from, await hello("sticky.example.com", undefined, from));
    return chosen;
  };

  it("leads a client to the same backend, clients to all, and moves only the clients of one that has gone", async () => {
    const all = [a, b, c].map(({ address }) => `+${address}\n`).join("");
    edge.write("n/sticky.example.com", `7 acme source\n${all}`);
    const first = await choices();
    expect(await choices()).toEqual(first);
    for (const label of ["A", "B", "C"])
      expect([...first.values()].filter((answer) => answer === label).length).toBeGreaterThanOrEqual(5);
    edge.write("n/sticky.example.com", `7 acme source\n+${a.address}\n+${c.address}\n\n-${b.address}\n`);
    const second = await choices();
    for (const [from, answer] of first)
      if (answer === "B") expect(second.get(from)).not.toBe("B");
      else expect(second.get(from)).toBe(answer);
  });
});

describe("client addresses that may connect", () => {
  const ranges = ["127.0.2.0/24", "127.0.4.8/30", "::1/128"];

  it.each([
    ["127.0.2.0", "A"],
    ["127.0.2.255", "A"],
    ["127.0.3.0", "closed"],
    ["127.0.1.255", "closed"],
    ["127.0.4.7", "closed"],
    ["127.0.4.8", "A"],
    ["127.0.4.11", "A"],
    ["127.0.4.12", "closed"],
  ])("%s gets the answer %s", async (from, answer) => {
    edge.write("n/allow.example.com", `7 acme ${allowOption(ranges)}\n+${a.address}\n`);
    expect(await hello("allow.example.com", undefined, from)).toBe(answer);
  });

  it("are refused while the tenant is full, and while their source has its share", async () => {
    edge.write("n/full.example.com", `7 acme full\n+${a.address}\n`);
    expect(await hello("full.example.com")).toBe("closed");
    const block = allowOption(["127.0.2.0/24"]).replace("allow=", "block=");
    edge.write("n/full.example.com", `7 acme ${block} ${allowOption(["127.0.0.0/8"])}\n+${a.address}\n`);
    expect(await hello("full.example.com", undefined, "127.0.2.1")).toBe("closed");
    expect(await hello("full.example.com", undefined, "127.0.3.1")).toBe("A");
  });

  it("may be IPv6", async () => {
    edge.write("n/allow.example.com", `7 acme ${allowOption(ranges)}\n+${a.address}\n`);
    expect(await hello("allow.example.com", undefined, undefined, "::1")).toBe("A");
    edge.write("n/allow.example.com", `7 acme ${allowOption(["::2/127"])}\n+${a.address}\n`);
    expect(await hello("allow.example.com", undefined, undefined, "::1")).toBe("closed");
  });

  it("are checked on ports too, and for clients that asked for TLS first", async () => {
    edge.write(`p/${raw}`, `7 acme ${allowOption(["127.0.2.0/24"])}\n+${a.address}\n`);
    expect(await visit(Buffer.from("x"), { port: raw, from: "127.0.2.1" })).toBe("A");
    expect(await visit(Buffer.from("x"), { port: raw, from: "127.0.3.1" })).toBe("closed");
    edge.write("n/allow.example.com", `9 data ${allowOption(["127.0.2.0/24"])}\n+${pg.address}\n`);
    for (const [from, answer] of [
      ["127.0.2.1", "PG"],
      ["127.0.3.1", "closed"],
    ] as const) {
      const socket = connect({ port: tls, from });
      socket.write(sslRequest);
      expect(await firstAnswer(socket)).toBe("S");
      socket.write(clientHello({ name: "allow.example.com" }));
      expect(await firstAnswer(socket)).toBe(answer);
      socket.destroy();
    }
  });
});

describe("a connection that leads nowhere", () => {
  it("is counted by its reason, and what it asked for last is kept", async () => {
    refusals.read(Date.now());
    const before = { ...refusals.counts };
    edge.write("n/allow.example.com", `7 acme ${allowOption(["127.0.2.0/24"])}\n+${a.address}\n`);
    await hello("allow.example.com", undefined, "127.0.3.1");
    await hello("first.org");
    await hello("Nobody.org");
    await visit(clientHello({}), { port: tls });
    await visit(Buffer.from("GET / HTTP/1.0\r\n\r\n"), { port: tls });
    refusals.read(Date.now());
    const grown = Object.entries(refusals.counts).map(([reason, count]) => [reason, count - before[reason as never]]);
    expect(Object.fromEntries(grown)).toEqual({ address: 1, unknown: 2, noname: 1, plain: 1, limit: 0 });
    expect(refusals.last.slice(0, 3).map(({ reason, what }) => [reason, what])).toEqual([
      ["unknown", "nobody.org"],
      ["unknown", "first.org"],
      ["address", "7 acme"],
    ]);
  });

  it("is closed also when its note finds no room, and the notes end there", async () => {
    const file = path.join(edge.routes, "../sessions/refused");
    const full = "unknown x.org\n".repeat(80_000);
    writeFileSync(file, full);
    expect(await hello("nobody.org")).toBe("closed");
    expect(statSync(file).size).toBe(full.length);
    refusals.read(Date.now()); // takes them, and makes room
    expect(statSync(file).size).toBe(0);
    expect(await hello("nobody.org")).toBe("closed");
    expect(statSync(file).size).toBe("unknown nobody.org\n".length);
  });
});
