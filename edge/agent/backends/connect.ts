/** One look at a backend: does it take a connection? */
import net from "node:net";
import type { Sign } from "./damping.ts";

/** A round trip around the world is a third of it. */
const answerMs = 1000;

/** Undefined when it was not the backend's fault. Never rejects. */
export type Look = (backend: string) => Promise<Exclude<Sign, "failed"> | undefined>;

/** What this edge itself is out of: files, ports, memory, or a way out. */
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

/** Connects from `localAddress`, as nginx does, and hangs up. */
export const lookFrom =
  (localAddress: string | undefined): Look =>
  (backend) =>
    new Promise((resolve) => {
      const at = backend.lastIndexOf(":");
      const host = backend.slice(0, at).replace(/^\[|\]$/g, "");
      const port = Number(backend.slice(at + 1));
      const socket = net.connect({ host, port, ...(localAddress === undefined ? {} : { localAddress }) });
      const end = (sign: Awaited<ReturnType<Look>>) => {
        socket.destroy();
        resolve(sign);
      };
      socket.setTimeout(answerMs, () => end("silent"));
      socket.once("connect", () => end("connected"));
      socket.once("error", ({ code = "" }: NodeJS.ErrnoException) => {
        if (ours.has(code)) end(undefined);
        else end(code === "ETIMEDOUT" ? "silent" : "refused");
      });
    });
