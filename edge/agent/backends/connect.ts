/** One check of a backend: does it accept a connection, complete a handshake, answer a request? */
import http from "node:http";
import net from "node:net";
import type { Duplex } from "node:stream";
import tls from "node:tls";
import type { Sign } from "./damping.ts";

/**
 * How a backend is checked. `none`: only while it is down, since users' failed connections tell the rest. `word`: a ClientHello
 * gets anything back, even an end; for backends that take connections and say nothing.
 */
export type BackendCheck = (
  | { type: "tcp" | "tls" | "none" | "word" }
  | { type: "http" | "https"; path: string; port?: number | undefined }
) & {
  /** A server name for it, and the version of the PROXY protocol that it expects. */
  name?: string;
  proxyProtocol?: "v1" | "v2";
};

/** Three times a round trip around the world; a handshake and a request take three. */
const connectMs = 1000;
const answerMs = 3000;

/** Resolves to undefined if the failure was not the backend's fault. Never rejects. */
export type Look = (backend: string, check?: BackendCheck) => Promise<Exclude<Sign, "failed" | "mute"> | undefined>;

/** Errors of this edge itself: it lacks files, ports, memory, a network or a permission. */
const ours = new Set([
  "EMFILE",
  "ENFILE",
  "EADDRNOTAVAIL",
  "EADDRINUSE",
  "ENOBUFS",
  "ENOMEM",
  "ENETDOWN",
  "EACCES",
  "EPERM",
]);

/** Whether a connection failed for this edge's own sake. */
export const isOwnFault = ({ code = "" }: NodeJS.ErrnoException): boolean => ours.has(code);

/** PROXY headers that speak for no client: a check by the proxy itself. */
const headers = { v1: Buffer.from("PROXY UNKNOWN\r\n"), v2: Buffer.from("0d0a0d0a000d0a515549540a20000000", "hex") };

/** Connects from `localAddress`, as nginx does, asks what the check asks, and closes the connection at once. */
export const lookFrom =
  (localAddress: string | undefined): Look =>
  (backend, check = { type: "tcp" }) =>
    new Promise((resolve) => {
      const at = backend.lastIndexOf(":");
      const host = backend.slice(0, at).replace(/^\[|\]$/g, "");
      const own = Number(backend.slice(at + 1));
      const port = "path" in check ? (check.port ?? own) : own;
      const socket = net.connect({ host, port, ...(localAddress === undefined ? {} : { localAddress }) });
      let isOpen = false;
      socket.once("connect", () => {
        isOpen = true;
      });
      const end = (sign: Awaited<ReturnType<Look>>) => {
        clearTimeout(late);
        // With an address of its own, each closed connection would hold a port for a minute, and the search for a free one
        // would take most of the agent's time. A reset holds none.
        if (localAddress !== undefined && isOpen) socket.resetAndDestroy();
        else socket.destroy();
        resolve(sign);
      };
      const isOnlyConnect = check.type === "tcp" || check.type === "none";
      const late = setTimeout(
        () => end(check.type === "word" && socket.bytesRead > 0 ? "connected" : "silent"),
        isOnlyConnect ? connectMs : answerMs,
      );
      const failed = (error: NodeJS.ErrnoException) => {
        const { code = "" } = error;
        if (isOwnFault(error)) end(undefined);
        else if (check.type === "word" && isOpen) end("connected");
        // An alert is an answer: the server may ask for a certificate of the client.
        else if (/^ERR_SSL_.*ALERT/.test(code)) end("connected");
        else end(code === "ETIMEDOUT" ? "silent" : "refused");
      };
      socket.on("error", failed);
      if (isOnlyConnect) return void socket.once("connect", () => end("connected"));
      if (check.proxyProtocol !== undefined && port === own) socket.write(headers[check.proxyProtocol]);
      const servername = check.name === undefined ? {} : { servername: check.name };
      const isTls = check.type === "tls" || check.type === "https" || check.type === "word";
      const stream: Duplex = isTls ? tls.connect({ socket, rejectUnauthorized: false, ...servername }) : socket;
      stream.on("error", failed).once("close", () => end(check.type === "word" && isOpen ? "connected" : "refused"));
      if (!("path" in check)) return void stream.once("secureConnect", () => end("connected"));
      http
        .get({ path: check.path, headers: { host: check.name ?? host }, createConnection: () => stream })
        .on("error", failed)
        .once("response", ({ statusCode = 500 }) => end(statusCode < 400 ? "connected" : "refused"));
    });
