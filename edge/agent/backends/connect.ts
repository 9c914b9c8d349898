/** One check of a backend: does it accept a connection? */
import net from "node:net";
import type { Sign } from "./damping.ts";

/** Three times a round trip around the world. */
const answerMs = 1000;

/** Resolves to undefined if the failure was not the backend's fault. Never rejects. */
export type Look = (backend: string) => Promise<Exclude<Sign, "failed"> | undefined>;

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

/** Connects from `localAddress`, as nginx does, and closes the connection at once. */
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
