/** Measures the time from a route's change to the first connection that uses it. */
import type { Figures } from "./figures.ts";
import { Client, startBackend } from "./load/processes.ts";
import { haproxy, landfall, nginxMap, type Peer } from "./peers.ts";

const changes = 200;
/** The number of changes for a peer that reloads: a reload of ten thousand names is slow. */
const reloads = 20;
const names = Array.from({ length: 10_000 }, (_, index) => `t${index}.tenants.example.com`);

export async function apply(figures: Figures): Promise<void> {
  const [a, b] = await Promise.all([startBackend("a"), startBackend("b")]);
  const client = new Client();
  const peers: Peer[] = [];
  const times = new Map<string, number[]>();
  try {
    for (const start of [landfall, haproxy, nginxMap]) peers.push(await start({ names, backend: a.address }));
    for (let round = 0; round < changes; round++)
      for (const peer of peers) {
        if (peer.reloads && round % (changes / reloads) > 0) continue;
        const name = names[round]!;
        const began = performance.now();
        await peer.change!(new Map([[name, b.address]]));
        await client.ask({ kind: "until", host: peer.host, port: peer.port, name, answer: "b" });
        const took = performance.now() - began;
        times.set(peer.name, [...(times.get(peer.name) ?? []), took]);
      }
    for (const [name, values] of times)
      figures.spread(`${name}: change → first connection that takes it`, values, "ms");
    figures.write(
      `${names.length.toLocaleString("en")} names, one changed at a time, in turns; one connection after the other until the new ` +
        "backend answers. nginx's map is rewritten and reloaded.",
    );
  } finally {
    client.stop();
    for (const peer of peers) await peer.stop();
    a.stop();
    b.stop();
  }
}
