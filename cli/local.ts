/** `landfall local …`: what only the embedded cloud has. */

import type { Pod, PodRequest } from "../local/controls.ts";
import { localEndpoints, UsageError } from "./connect.ts";

export interface PodOptions {
  region: string;
  target: string;
  port?: string;
  address?: string;
}

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
  console.log(`${body.address}:${body.port}`);
}
