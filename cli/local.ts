/** `landfall local …`: commands for the embedded cloud only. */

import net from "node:net";
import {
  controlsPrefix,
  type DnsRecord,
  type Impairment,
  type PathRequest,
  type Pod,
  type PodRequest,
} from "../schemas/local.ts";
import { localEndpoints, UsageError } from "./connect.ts";

export interface PathOptions {
  from: string;
  to: string;
  loss?: string;
  jitter?: string;
  rtt?: string;
  cut?: boolean;
  clear?: boolean;
}

function quantity(text: string | undefined, flag: string, unit: "ms" | "%", max: number): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text.replace(new RegExp(`${unit}$`), ""));
  if (text === "" || !(value >= 0 && value <= max))
    throw new UsageError(`--${flag} takes 0 to ${max} ${unit}, as in --${flag} 20${unit}, not ${text}`);
  return value;
}

/** Makes the way between two places worse, or as measured again. */
export async function changePath({ from, to, cut, clear, ...options }: PathOptions): Promise<void> {
  const loss = quantity(options.loss, "loss", "%", 100);
  const impairment: Impairment = Object.fromEntries(
    Object.entries({
      lossShare: loss === undefined ? undefined : loss / 100,
      jitterMs: quantity(options.jitter, "jitter", "ms", 60_000),
      rttMs: quantity(options.rtt, "rtt", "ms", 60_000),
      cut,
    }).filter(([, value]) => value !== undefined),
  );
  const isWorse = Object.keys(impairment).length > 0;
  if (isWorse === (clear === true))
    throw new UsageError("say what to change (--loss, --jitter, --rtt or --cut), or --clear to restore the path");
  const request: PathRequest = { from, to, ...(isWorse ? { impairment } : {}) };
  await post("network", request);
  const words = Object.entries(impairment).map(([name, value]) => `${name} ${value}`);
  console.log(`${from} ↔ ${to}: ${isWorse ? words.join(", ") : "as measured"}`);
}

async function post<T>(control: string, body: object): Promise<T> {
  const answer = await fetch(`${localEndpoints().aws.endpoint}${controlsPrefix}${control}`, {
    method: "POST",
    body: JSON.stringify(body),
  });
  const parsed = (await answer.json()) as T & { error?: string };
  if (parsed.error !== undefined) throw new UsageError(parsed.error);
  return parsed;
}

export interface PodOptions {
  region: string;
  target: string;
  port?: string;
  address?: string;
}

/** Sets or removes records of the embedded cloud's DNS. */
export async function setDns(name: string, type: string, values: string[]): Promise<void> {
  const record = await post<DnsRecord>("dns", { name, type: type.toUpperCase(), values });
  const said = record.values.length === 0 ? "none" : record.values.join(", ");
  console.log(`${record.name} ${record.type}: ${said}`);
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
  const body = await post<Pod>("pods", request);
  if (!(await answers(targetHost, Number(targetPort))))
    console.error(`note: no server answers at ${target} yet; connections are forwarded once one does`);
  console.log(`${body.address}:${body.port}`);
}
