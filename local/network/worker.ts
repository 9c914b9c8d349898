/** The network thread: the accelerators' data plane, pods, and delay lines. No part of the control plane runs here. */
import { createHash } from "node:crypto";
import net from "node:net";
import { parentPort, workerData } from "node:worker_threads";
import { carry } from "./connection.ts";
import { Geography } from "./geography.ts";
import { HealthChecks } from "./health.ts";
import { type Listening, readListening } from "./listening.ts";
import type { FromNetwork, NetworkListener, ToNetwork } from "./messages.ts";
import { Paths } from "./paths.ts";
import { route } from "./routing.ts";

const { network, regions } = workerData as { network: number; regions: string[] };
const geography = new Geography(network, regions);
const port = parentPort!;
const tell = (message: FromNetwork) => port.postMessage(message);
const health = new HealthChecks((group, endpoint, state) => tell({ type: "health", group, endpoint, state }));

const paths = new Paths(geography);
/** How often pods look whether their targets listen. */
const followMs = 300;

const servers = new Map<string, net.Server>();
/** Pods with a target on this machine. */
const pods = new Map<string, PodMessage>();
let listeners = new Map<string, NetworkListener>();

port.on("message", (message: ToNetwork) => {
  const done = (facts: { error?: string; port?: number } = {}) =>
    tell({ type: "reply", reply: message.reply, ...facts });
  act(message).then(
    (bound) => done(bound === undefined ? {} : { port: bound }),
    (error: Error) => done({ error: error.message }),
  );
});

async function act(message: ToNetwork): Promise<number | undefined> {
  switch (message.type) {
    case "listeners":
      return void (await configure(message.listeners));
    case "impair":
      return void paths.impair(message.from, message.to, message.impairment);
    case "pod":
      return openPod(keyOf(message), message);
    case "closePod": {
      const key = keyOf(message);
      pods.delete(key);
      servers.get(key)?.close();
      servers.delete(key);
      return undefined;
    }
  }
}

const keyOf = ({ address, port }: { address: string; port: number }) => `pod ${address}:${port}`;

type PodMessage = Extract<ToNetwork, { type: "pod" }>;

/** A pod listens while its target does: a target that refuses is refused at the pod's address too. */
async function openPod(key: string, pod: PodMessage): Promise<number> {
  const serve = (client: net.Socket) => toPod(client, pod);
  const bound = await listen(key, pod.address, pod.port, serve); // also for an address that is taken: then it throws
  if (isLocal(pod.targetHost)) {
    pods.set(key, pod);
    await follow(key, pod, await readListening());
  }
  return bound;
}

const isLocal = (host: string) => host.startsWith("127.");

async function follow(key: string, pod: PodMessage, isListening: Listening | undefined): Promise<void> {
  if (!pods.has(key)) return; // closed meanwhile
  const listens = isListening?.(pod.targetHost, pod.targetPort) ?? true;
  const server = servers.get(key);
  if (listens && server === undefined) await listen(key, pod.address, pod.port, (client) => toPod(client, pod));
  if (listens || server === undefined) return;
  servers.delete(key);
  await new Promise<void>((resolve) => {
    server.close();
    setImmediate(resolve); // connections that are open go on, as they do on a host whose service stopped listening
  });
}

async function followAll(): Promise<void> {
  const followed = [...pods];
  if (followed.length > 0) {
    const isListening = await readListening();
    await Promise.all(followed.map(([key, pod]) => follow(key, pod, isListening)));
  }
  setTimeout(repeat, followMs).unref();
}
const repeat = () =>
  void followAll().catch((error: Error) => {
    tell({ type: "fault", error: error.message });
    setTimeout(repeat, followMs).unref();
  });
repeat();

/** Opens new listeners, closes removed ones, and keeps established connections. */
async function configure(wanted: NetworkListener[]): Promise<void> {
  const before = listeners;
  listeners = new Map(wanted.map((listener) => [listener.arn, listener]));
  health.watch(wanted.flatMap(({ groups }) => groups));
  const ports = new Set<string>();
  for (const { arn, addresses, ports: pairs } of wanted)
    for (const [address, [outer, inner]] of addresses.flatMap((one) => pairs.map((pair) => [one, pair] as const))) {
      const key = `listener ${arn} ${address}:${inner}`;
      ports.add(key);
      if (!servers.has(key)) await listen(key, address, inner, (client) => toEdge(client, arn, outer));
    }
  for (const arn of before.keys())
    for (const key of servers.keys())
      if (key.startsWith(`listener ${arn} `) && !ports.has(key)) {
        servers.get(key)?.close();
        servers.delete(key);
      }
}

function listen(key: string, host: string, wanted: number, serve: (client: net.Socket) => void): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
      client.on("error", () => {}); // told by close
      serve(client);
    });
    server.once("error", reject);
    server.listen({ host, port: wanted, backlog: 1024 }, () => {
      servers.set(key, server);
      resolve((server.address() as net.AddressInfo).port);
    });
  });
}

/** Connects a user to the edge that the accelerator chooses. The edge sees the user's own address. */
function toEdge(client: net.Socket, arn: string, listenerPort: number): void {
  const listener = listeners.get(arn);
  const from = client.remoteAddress ?? "";
  const place = geography.placeOf(from);
  const groups = (listener?.groups ?? []).map((group) => ({
    ...group,
    endpoints: group.endpoints.map((endpoint) => ({
      ...endpoint,
      healthy: health.stateOf(group.arn, endpoint.id) === "HEALTHY",
    })),
  }));
  const flow = hash(listener?.sourceAffinity ? from : `${from}:${client.remotePort}:${listenerPort}`);
  const chosen = route(groups, (region) => geography.regionRtt(place.region, region), flow, Math.random());
  if (chosen === undefined) {
    client.resetAndDestroy();
    return;
  }
  const { overrides } = groups.find(({ region }) => region === chosen.group.region)!;
  const port = overrides.find((override) => override.listener === listenerPort)?.endpoint ?? listenerPort;
  const { address } = chosen.endpoint;
  carry(client, { host: address, port, localAddress: from }, paths.between(from, address));
}

/** Connects a client to a pod, with the way between the client's place and the pod's region. */
function toPod(client: net.Socket, { address, targetHost, targetPort }: PodMessage): void {
  const from = client.remoteAddress ?? "";
  const keepSource = from.startsWith(`127.${network}.`) && isLocal(targetHost);
  const options = { host: targetHost, port: targetPort, ...(keepSource ? { localAddress: from } : {}) };
  carry(client, options, paths.between(from, address));
}

/** Hashes a flow to a number in [0, 1). */
const hash = (text: string) => createHash("md5").update(text).digest().readUInt32BE() / 2 ** 32;
