/** The network thread: the accelerators' data plane, pods, and delay lines. No part of the control plane runs here. */
import { createHash } from "node:crypto";
import net from "node:net";
import { performance } from "node:perf_hooks";
import { parentPort, workerData } from "node:worker_threads";
import { join } from "./delay-line.ts";
import { Geography } from "./geography.ts";
import { HealthChecks } from "./health.ts";
import type { FromNetwork, NetworkListener, ToNetwork } from "./messages.ts";
import { route } from "./routing.ts";

const { network, regions } = workerData as { network: number; regions: string[] };
const geography = new Geography(network, regions);
const port = parentPort!;
const tell = (message: FromNetwork) => port.postMessage(message);
const health = new HealthChecks((group, endpoint, state) => tell({ type: "health", group, endpoint, state }));

const servers = new Map<string, net.Server>();
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
  if (message.type === "listeners") return void (await configure(message.listeners));
  const key = `pod ${message.address}:${message.port}`;
  if (message.type === "closePod") {
    servers.get(key)?.close();
    servers.delete(key);
    return undefined;
  }
  const { address, targetHost, targetPort } = message;
  return listen(key, address, message.port, (client) => toPod(client, address, targetHost, targetPort));
}

/** Opens new listeners, closes removed ones, and keeps established connections. */
async function configure(wanted: NetworkListener[]): Promise<void> {
  const before = listeners;
  listeners = new Map(wanted.map((listener) => [listener.arn, listener]));
  health.watch(wanted.flatMap(({ groups }) => groups));
  const ports = new Set<string>();
  for (const { arn, address, ports: pairs } of wanted)
    for (const [outer, inner] of pairs) {
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
      client.on("error", () => {}); // join() passes errors on once there is another side
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
  const { region } = chosen.group;
  const { overrides } = groups.find((group) => group.region === region)!;
  const rtt = geography.rtt(place, { region, lastMileMs: 0 });
  const target = overrides.find((override) => override.listener === listenerPort)?.endpoint ?? listenerPort;
  connect(client, { host: chosen.endpoint.address, port: target, localAddress: from }, rtt);
}

/** Connects a client to a pod, with the delay between the client's place and the pod's region. */
function toPod(client: net.Socket, address: string, targetHost: string, targetPort: number): void {
  const from = client.remoteAddress ?? "";
  const rtt = geography.rtt(geography.placeOf(from), geography.placeOf(address));
  const keepSource = from.startsWith(`127.${network}.`) && targetHost.startsWith("127.");
  connect(client, { host: targetHost, port: targetPort, ...(keepSource ? { localAddress: from } : {}) }, rtt);
}

/** The server sees the connection after one round trip, and the first bytes half of one later, as after a handshake. */
function connect(client: net.Socket, options: net.TcpNetConnectOpts, rtt: number): void {
  const began = performance.now();
  client.pause();
  setTimeout(() => {
    if (client.destroyed) return;
    const server = net.connect({ ...options, allowHalfOpen: true, noDelay: true });
    join(client, server, rtt, began + rtt);
    server.once("connect", () => client.resume());
  }, rtt);
}

/** Hashes a flow to a number in [0, 1). */
const hash = (text: string) => createHash("md5").update(text).digest().readUInt32BE() / 2 ** 32;
