/** Good users' connections while others attack, at an edge, HAProxy and nginx with a map that have the same limits. */
import net from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { capacityFor } from "../edge/agent/nginx/render.ts";
import { edgeSettings } from "../edge/user-data.ts";
import { structureOn } from "../local/edges/standalone.ts";
import { tlsRoute } from "../test/fixtures/region.ts";
import { type Figures, percentile } from "./figures.ts";
import type { Attack } from "./load/attacker.ts";
import { Attacker, Client, startBackend } from "./load/processes.ts";
import { haproxy, nginxMap, type StartPeer } from "./peers.ts";
import { edgeAddress, startWholeEdge } from "./whole-edge.ts";

const good = "good.tenants.example.com";
const victim = "hung.tenants.example.com";
const seconds = 15;
const perSecond = 50;
/** Of one tenant, where it can be said. */
const tenantSessions = 2000;
const reports = { table: "none", region: "us-west-2", roleId: "none" };
const settings = edgeSettings({ cell: "c1", region: "us-west-2", bucket: "none", reports, publicKeys: {} });
/** What the edge of this bench can carry; the peers are given the same. */
const { sessions, perSource } = capacityFor({
  structure: structureOn({ edgeTlsPort: edgeAddress.port, portBase: 10_000, portCount: 200 }),
  settings: { ...settings, nginx: { ...settings.nginx, connections: 8192 } },
  memoryBytes: Number.MAX_SAFE_INTEGER,
  address: edgeAddress.host,
});
const limits = { sessions, perSource, tenantSessions };

const from = (...last: number[]) => last.map((one) => `127.0.9.${one}`);
const attacks: { what: string; attack: Omit<Attack, "host" | "port">; leaves?: true }[] = [
  {
    what: "5 × 1,000 sessions to a backend that reads nothing, clients gone",
    attack: { name: victim, sources: from(1, 2, 3, 4, 5), each: 1000, sends: { whole: 64 * 1024 } },
    leaves: true,
  },
  { what: "3,000 sessions of one source", attack: { name: good, sources: from(6), each: 3000, sends: { whole: 0 } } },
  {
    what: "2,000 half hellos of one source",
    attack: { name: good, sources: from(7), each: 2000, sends: { half: true } },
  },
];

type Start = (
  goodBackend: string,
  hungBackend: string,
) => Promise<{ name: string; host: string; port: number; stop(): Promise<void> }>;

const edge: Start = async (goodBackend, hungBackend) => {
  const routes = [tlsRoute(20_000, "good", good, goodBackend), tlsRoute(20_001, "hung", victim, hungBackend)];
  const whole = await startWholeEdge(routes, { sessionLimits: { open: tenantSessions, newPerSecond: 1_000_000 } });
  return { name: "Landfall's edge", ...edgeAddress, stop: whole.stop };
};
const peer =
  (start: StartPeer): Start =>
  async (goodBackend, hungBackend) => {
    const started = await start({ names: [good, victim], backend: goodBackend, limits });
    await started.change!(new Map([[victim, hungBackend]]));
    return started;
  };

export async function hostile(figures: Figures, only?: string): Promise<void> {
  for (const start of [edge, peer(haproxy), peer(nginxMap)])
    for (const { what, attack, leaves } of [undefined, ...attacks].map(
      (one) => one ?? { what: "no attack", attack: undefined, leaves: undefined },
    )) {
      const [backend, hung] = [await startBackend(), await startHung()];
      const subject = await start(backend.address, hung.address);
      try {
        if (only !== undefined && !subject.name.includes(only)) continue;
        const { host, port, name } = subject;
        const attacker = attack === undefined ? undefined : new Attacker();
        const held = attack === undefined ? 0 : await attacker!.begin({ host, port, ...attack });
        if (leaves) attacker?.stop();
        const client = new Client();
        const order = { kind: "steady", host, port, name: good, from: "127.0.9.100", perSecond, seconds } as const;
        const { times, failed } = await client.ask(order);
        client.stop();
        if (!leaves) attacker?.stop();
        const label = `${name}, ${what}`;
        const ours = name === "Landfall's edge";
        if (attack !== undefined)
          figures.add(`${label}: connections that the attacker holds`, held, "", attack.sources.length * attack.each);
        figures.add(`${label}: good users' failures`, failed, "", failed + times.length, ours ? "0" : undefined);
        if (times.length === 0) continue;
        figures.add(`${label}: first byte, p50`, percentile(times, 0.5) / 1000, "ms", times.length);
        figures.add(`${label}: first byte, p99`, percentile(times, 0.99) / 1000, "ms", times.length);
      } finally {
        await subject.stop();
        backend.stop();
        hung.stop();
        await sleep(500);
      }
    }
  figures.write(
    `${perSecond} connections a second of good users for ${seconds} s, from another source than the attackers. Each has room for ` +
      `${sessions} sessions, ${perSource} of one source; the edge and HAProxy ${tenantSessions} of one tenant, which nginx's map can't say.`,
  );
}

/** Accepts, and neither reads nor writes. */
async function startHung(): Promise<{ address: string; stop(): void }> {
  const open = new Set<net.Socket>();
  const server = net.createServer({ pauseOnConnect: true }, (socket) => {
    open.add(socket);
    socket.on("error", () => {}).on("close", () => open.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as net.AddressInfo;
  const stop = () => {
    server.close();
    for (const socket of open) socket.destroy();
  };
  return { address: `127.0.0.1:${port}`, stop };
}
