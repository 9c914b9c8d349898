/** `landfall local …`: what only the embedded cloud has. */

import net from "node:net";
import type { Pod, PodRequest } from "../schemas/local.ts";
import { localEndpoints, UsageError } from "./connect.ts";

export interface PodOptions {
  region: string;
  target: string;
  port?: string;
  address?: string;
}

const answers = (host: string, port: number) =>
  new Promise<boolean>((resolve) => {
    const socket = net.connect({ host, port, timeout: 2000 });
    const end = (good: boolean) => {
      socket.destroy();
      resolve(good);
    };
    socket.on("connect", () => end(true));
    socket.on("timeout", () => end(false));
    socket.on("error", () => end(false));
  });

export async function openPod({ region, target, port, address }: PodOptions): Promise<void> {
  const [, targetHost, targetPort] = /^\[?([^\]]+?)\]?:(\d+)$/.exec(target) ?? [];
  if (targetHost === undefined) throw new UsageError(`--target is HOST:PORT, as in 127.0.0.1:22, not ${target}`);
  const request: PodRequest = {
    region,
    targetHost,
    targetPort: Number(targetPort),
    ...(port === undefined ? {} : { port: Number(port) }),
    ...(address === undefined ? {} : { address }),
  };
  const answer = await fetch(`${localEndpoints().aws.endpoint}/_landfall/pods`, {
    method: "POST",
    body: JSON.stringify(request),
  });
  const body = (await answer.json()) as Pod & { error?: string };
  if (body.error !== undefined) throw new UsageError(body.error);
  if (!(await answers(targetHost, Number(targetPort))))
    console.error(`note: nothing answers at ${target} yet; connections are passed on once something does`);
  console.log(`${body.address}:${body.port}`);
}
