/** One edge with very many routes: what its agent needs for all of them, for one change, and for a backend that all share. */
import { chmodSync, mkdtempSync, readdirSync, readFileSync, symlinkSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { structureOn } from "../local/edges/standalone.ts";
import type { Route } from "../schemas/snapshot.ts";
import { clientHello } from "../test/fixtures/client-hello.ts";
import { Region, removeDir, tlsRoute } from "../test/fixtures/region.ts";
import type { Figures } from "./figures.ts";

const count = 100_000;
const changes = 40;
const address = "127.94.1.1";
const regions = ["us-west-2", "eu-west-3", "ap-northeast-1"];

/** A server on every loopback address: so each tenant has pods of its own in each region. */
async function listen(): Promise<{ port: number; close: () => void }> {
  const server = net.createServer((socket) => socket.on("error", () => {}).resume());
  await new Promise<void>((resolve) => server.listen(0, "0.0.0.0", 4096, resolve));
  return { port: (server.address() as net.AddressInfo).port, close: () => void server.close() };
}

export async function routes(figures: Figures): Promise<void> {
  const dir = mkdtempSync(path.join(os.tmpdir(), "landfall-routes-"));
  chmodSync(dir, 0o755);
  const memory = mkdtempSync("/dev/shm/landfall-routes-"); // as /run is: a disk's renames are much slower
  chmodSync(memory, 0o755);
  symlinkSync(memory, path.join(dir, "run"));
  const [own, shared, other] = await Promise.all([listen(), listen(), listen()]);
  const structure = structureOn({ edgeTlsPort: 8443, portBase: 10_000, portCount: 20 });
  const region = await Region.start({ ...structure, nearest: { "us-west-2": regions } });
  const edge = await region.edge(dir, address);
  const routeOf = (index: number, generation: number): Route => {
    const pod = (net: number) => `127.${net}.${(index >> 8) & 255}.${index & 255}:${own.port}`;
    const its = Object.fromEntries(regions.map((name, number) => [name, [pod(100 + number * 2 + (index >> 16))]]));
    return { ...tlsRoute(20_000 + index, `tenant-${index}`, `tenant-${index}.example.com`), generation, backends: its };
  };
  const metric = async (name: string, labels = ""): Promise<number> => {
    const text = await (await fetch(`http://${address}:8080/metrics`)).text();
    const line = text.split("\n").find((one) => one.startsWith(`landfall_${name}{`) && one.includes(labels));
    return Number(line?.slice(line.lastIndexOf(" ") + 1));
  };
  const until = async (holds: () => Promise<boolean> | boolean, withinMs = 120_000): Promise<number> => {
    const began = performance.now();
    while (!(await holds())) {
      if (performance.now() - began > withinMs) throw new Error(`not within ${withinMs} ms`);
      await sleep(5);
    }
    return performance.now() - began;
  };
  const applied = () => until(() => (region.reports.at(-1)?.appliedGeneration ?? 0) >= region.generation);
  try {
    region.publish([]);
    edge.start();
    await applied();
    await until(() =>
      fetch(`http://${address}:8080/healthz`).then(
        ({ ok }) => ok,
        () => false,
      ),
    );
    const empty = await metric("agent_resident_bytes");
    let list = Array.from({ length: count }, (_, index) => routeOf(index, 1));
    region.publish(list);
    await applied();
    figures.add("agent: fetch and apply all routes", await metric("config_apply_seconds"), "s", 1, "≤ 5 s");
    figures.add("agent: longest stall meanwhile", (await metric("agent_stall_seconds")) * 1000, "ms", 1, "≤ 50 ms");
    const times: number[] = [];
    const stalls: number[] = [];
    for (let at = 0; at < changes; at++) {
      const index = at * 2311;
      list = list.with(index, { ...list[index]!, affinity: "source", generation: 2 + at });
      region.publish(list);
      await applied();
      times.push((await metric("config_apply_seconds")) * 1000);
      stalls.push((await metric("agent_stall_seconds")) * 1000);
    }
    figures.spread("agent: fetch and apply one change", times, "ms", { p50: "≤ 50 ms" });
    figures.spread("agent: longest stall of a change", stalls, "ms", { p99: "≤ 50 ms" });

    // A structure that changes only nginx: its workers are replaced, and no route is rendered again.
    region.structure = { ...region.structure, nginxConf: `${region.structure.nginxConf}\n# another\n` };
    region.publish();
    await applied();
    figures.add("agent: another structure", await metric("config_apply_seconds"), "s", 1, "≤ 5 s");
    // One that changes the order of regions: every route is rendered again.
    region.structure = { ...region.structure, nearest: { "us-west-2": regions.toReversed() } };
    region.publish();
    await applied();
    figures.add("agent: another order of regions", await metric("config_apply_seconds"), "s", 1, "≤ 5 s");
    figures.add(
      "agent: longest stall meanwhile (regions)",
      (await metric("agent_stall_seconds")) * 1000,
      "ms",
      1,
      "≤ 50 ms",
    );
    figures.add("agent: memory, empty", empty / 1e6, "MB", 1);
    figures.add("agent: memory with all routes", (await metric("agent_resident_bytes")) / 1e6, "MB", 1, "≤ 200 MB");

    // One backend that all routes share falls.
    const sharing = `127.200.1.1:${shared.port}`;
    const alone = `127.200.1.2:${other.port}`;
    list = list.map((route, index) => ({
      ...route,
      generation: 100,
      backends: { "ap-northeast-1": [sharing], "us-west-2": [index === 7 ? alone : route.backends["us-west-2"]![0]!] },
    }));
    region.publish(list);
    await applied();
    const names = path.join(dir, "run/routes/n");
    const first = (index: number) =>
      readFileSync(path.join(names, `tenant-${index}.example.com`), "utf8").split("\n")[1];
    const leads = (index: number) => first(index) !== `+${sharing}`;
    await until(async () => (await metric("backends", 'health="up"')) > 0);
    for (let i = 0; i < 20; i++) await touch(7); // users make it a backend that is checked every second
    await metric("agent_stall_seconds");
    const began = performance.now();
    shared.close();
    await until(() => leads(7), 30_000);
    figures.add("shared backend: fall → first file", performance.now() - began, "ms", 1);
    await until(() => Array.from({ length: 50 }, (_, at) => at * 1999).every(leads));
    figures.add("shared backend: fall → all files", performance.now() - began, "ms", 1);
    figures.add(
      "shared backend: longest stall meanwhile",
      (await metric("agent_stall_seconds")) * 1000,
      "ms",
      1,
      "≤ 50 ms",
    );
    figures.add("files of routes", readdirSync(names).length, "", 1);
    figures.write(
      `${count.toLocaleString("en")} tenants, each with a name and a pod of its own in three regions, on one edge.`,
    );
  } finally {
    await edge.stop();
    await region.stop();
    for (const server of [own, shared, other]) server.close();
    removeDir(dir);
    removeDir(memory);
  }
}

/** Opens a session of a tenant. */
async function touch(index: number): Promise<void> {
  const socket = net.connect({ port: 8443, host: address }).on("error", () => {});
  socket.write(clientHello({ name: `tenant-${index}.example.com` }));
  await sleep(50);
  socket.destroy();
}
