/** Checks of backends against real servers: what counts as healthy, and what a server sees of a check. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import tls from "node:tls";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Backends } from "../../edge/agent/backends/backends.ts";
import { type BackendCheck, lookFrom } from "../../edge/agent/backends/connect.ts";
import { hotEveryMs } from "../../edge/agent/backends/damping.ts";
import { makeCertificates } from "../fixtures/servers.ts";
import { freePort } from "../fixtures/sockets.ts";

let dir: string;
let identity: { key: Buffer; cert: Buffer };
let ca: Buffer;
const servers: net.Server[] = [];
/** The first bytes that a plain server got on each connection. */
let heard: string[] = [];

async function listen(server: net.Server): Promise<string> {
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `127.0.0.1:${(server.address() as net.AddressInfo).port}`;
}
const portOf = (address: string) => Number(address.slice(address.lastIndexOf(":") + 1));
const look = (backend: string, check: BackendCheck) => lookFrom("127.0.0.3")(backend, check);
const quiet = (socket: net.Socket) => socket.on("error", () => {});

/** Takes connections and says nothing, as a process that hangs. */
const mute = () => listen(net.createServer(quiet));
/** Expects a PROXY header with this beginning, and passes the rest to a server behind it. */
const demanding = (begins: Buffer, length: number, to: string) =>
  listen(
    net.createServer((socket) => {
      quiet(socket).once("data", (chunk) => {
        if (!chunk.subarray(0, begins.length).equals(begins)) return socket.destroy();
        const inner = quiet(net.connect({ port: portOf(to), host: "127.0.0.1" }));
        inner.write(chunk.subarray(length));
        socket.pipe(inner).pipe(socket);
      });
    }),
  );

beforeAll(async () => {
  dir = mkdtempSync(path.join(os.tmpdir(), "landfall-checks-"));
  const made = await makeCertificates(dir, ["a.example.com"]);
  identity = { key: readFileSync(made.server.key), cert: readFileSync(made.server.cert) };
  ca = readFileSync(made.ca);
});
beforeEach(() => {
  heard = [];
});
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.close();
    (server as Partial<http.Server>).closeAllConnections?.();
  }
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe("a check by handshake", () => {
  it("takes a TLS server for healthy, whatever its certificate, and names the tenant to it", async () => {
    const names: string[] = [];
    const SNICallback = (name: string, done: (error: null) => void) => {
      names.push(name);
      done(null);
    };
    const server = tls.createServer({ ...identity, SNICallback }, quiet);
    expect(await look(await listen(server), { type: "tls", name: "a.example.com" })).toBe("connected");
    expect(names).toEqual(["a.example.com"]);
  });

  it("takes one that asks for the client's certificate for healthy", async () => {
    const demands = { ...identity, ca, requestCert: true, rejectUnauthorized: true };
    for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const)
      expect(await look(await listen(tls.createServer({ ...demands, maxVersion })), { type: "tls" })).toBe("connected");
  });

  it("takes one that hangs for silent, and what is not TLS or not there for refused", async () => {
    expect(await look(await mute(), { type: "tls" })).toBe("silent");
    expect(await look(await listen(net.createServer((socket) => quiet(socket).end("hi\n"))), { type: "tls" })).toBe(
      "refused",
    );
    expect(await look(`127.0.0.1:${await freePort()}`, { type: "tls" })).toBe("refused");
  });
});

describe("a check by request", () => {
  const web = (status: number) => (request: http.IncomingMessage, response: http.ServerResponse) => {
    heard.push(`${request.method} ${request.url} ${request.headers.host} ${request.socket.remoteAddress}`);
    response.writeHead(status).end("x".repeat(100_000));
  };

  it.each([
    [200, "connected"],
    [302, "connected"],
    [404, "refused"],
    [503, "refused"],
  ])("takes an answer with status %i for %s", async (status, sign) => {
    const backend = await listen(http.createServer(web(status)));
    expect(await look(backend, { type: "http", path: "/readyz", name: "a.example.com" })).toBe(sign);
    expect(heard).toEqual(["GET /readyz a.example.com 127.0.0.3"]);
  });

  it("may go to another port, by HTTPS too", async () => {
    const diagnostic = portOf(await listen(https.createServer(identity, web(200))));
    const backend = `127.0.0.1:${await freePort()}`;
    expect(await look(backend, { type: "https", path: "/readyz", port: diagnostic })).toBe("connected");
  });

  it("takes a server that hangs for silent, and one that breaks off for refused", async () => {
    expect(await look(await mute(), { type: "http", path: "/" })).toBe("silent");
    const breaks = await listen(net.createServer((socket) => quiet(socket).once("data", () => socket.destroy())));
    expect(await look(breaks, { type: "http", path: "/" })).toBe("refused");
  });
});

describe("a check for a word", () => {
  const says = (text: string) => net.createServer((socket) => quiet(socket).once("data", () => socket.write(text)));

  it("takes whatever comes back for a sign of life, even an end", async () => {
    expect(await look(await listen(tls.createServer(identity, quiet)), { type: "word" })).toBe("connected");
    expect(await look(await listen(says("E")), { type: "word" })).toBe("connected");
    const ends = net.createServer((socket) => quiet(socket).once("data", () => socket.end()));
    expect(await look(await listen(ends), { type: "word" })).toBe("connected");
    const resets = net.createServer((socket) => quiet(socket).once("data", () => socket.resetAndDestroy()));
    expect(await look(await listen(resets), { type: "word" })).toBe("connected");
  });

  it("takes a server that hangs for silent, and one that is not there for refused", async () => {
    expect(await look(await mute(), { type: "word" })).toBe("silent");
    expect(await look(`127.0.0.1:${await freePort()}`, { type: "word" })).toBe("refused");
  });
});

describe("a check of a backend that expects the PROXY protocol", () => {
  const v1 = Buffer.from("PROXY UNKNOWN\r\n");
  const v2 = Buffer.from("0d0a0d0a000d0a515549540a20000000", "hex");

  it.each([
    ["v1", v1],
    ["v2", v2],
  ] as const)("says that it speaks for nobody (%s)", async (proxyProtocol, header) => {
    const inner = await listen(tls.createServer(identity, quiet));
    const backend = await demanding(header, header.length, inner);
    expect(await look(backend, { type: "tls", proxyProtocol })).toBe("connected");
    expect(await look(backend, { type: "tls" })).toBe("refused");
  });

  it("says nothing of it at a diagnostic port", async () => {
    const web = await listen(http.createServer((_, response) => response.end("ok")));
    const check = { type: "http", path: "/", port: portOf(web), proxyProtocol: "v1" } as const;
    expect(await look(`127.0.0.1:${await freePort()}`, check)).toBe("connected");
  });
});

describe("a backend without checks", () => {
  it("is not connected to while it is up, however long, and is found again after a user's failure", async () => {
    const looks: string[] = [];
    const changes: string[][] = [];
    const backends = new Backends({
      watched: () => new Set(["db"]),
      file: path.join(dir, "none.json"),
      look: async (backend, check) => {
        looks.push(`${backend} ${check?.type}`);
        return "connected";
      },
      checkOf: () => ({ type: "none" }),
      onChange: (changed) => changes.push(changed),
      onTrouble: () => {},
    });
    const now = Date.now();
    backends.watch(["db"]);
    for (let ms = 0; ms < 10 * 60_000; ms += 100) {
      backends.used("db", now + ms);
      backends.tick(now + ms);
    }
    expect(looks).toEqual([]);
    await backends.failed("db", Date.now());
    looks.length = 0;
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect([backends.isUp("db"), changes]).toEqual([false, [["db"]]]);
    const later = now + 10 * 60_000;
    for (let ms = 0; ms < 10 * hotEveryMs; ms += 100) {
      backends.tick(later + ms);
      await new Promise((resolve) => setTimeout(resolve, ms % 1000 === 0 ? 200 : 0));
    }
    expect(backends.isUp("db")).toBe(true);
    expect(looks.length).toBeLessThanOrEqual(10);
  });
});
