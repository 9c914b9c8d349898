/** Measures the time from a tenant's write until every edge has the route, under a steady stream of changes. */
import { watch } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { edgeLimits } from "../schemas/limits.ts";
import { Figures } from "./figures.ts";
import { BenchFleet, type CloudOptions } from "./fleet.ts";

const tenants = 1000;
const writesPerSecond = 10;
/** Agents poll four times a second (edge/agent/main.ts). Of six independent agents, the last polls at 6/7 of it. */
const { pollMs } = edgeLimits;

interface Write {
  text: string;
  at: number;
  missing: Set<number>;
}

export async function propagation({ seconds, profile, rates }: CloudOptions & { seconds: number }): Promise<void> {
  const fleet = await BenchFleet.start({ profile, rates });
  const figures = new Figures("propagation", profile);
  try {
    await fleet.putAll(0, tenants);
    const last = fleet.routeFile(fleet.id(tenants - 1));
    await fleet.until("all tenants are served", () =>
      fleet.edges.every((edge) => fleet.read(edge, last) !== undefined),
    );
    await sleep(5000); // waits for the burst's remaining work
    const workers = fleet.workers();
    const times = await measure(fleet, seconds);
    const ask = profile === "none" ? { p50: "≤ 500 ms" } : { p50: "≤ 1500 ms", p99: "≤ 3000 ms" };
    figures.spread("tenant write → served by all edges", times, "ms", ask);
    const floor = (pollMs * fleet.edges.length) / (fleet.edges.length + 1);
    const median = times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)]!;
    figures.add("p50 ÷ the agents' polling delay alone", median / floor, "x", times.length);
    const reloads = fleet.workers().filter((ids, index) => ids !== workers[index]).length;
    figures.add("nginx reloads", reloads, "", fleet.edges.length, "0");
    fleet.addBusiestPartition(figures);
    figures.write(
      `${fleet.edges.length} edges in 3 regions, ${tenants} tenants, ${writesPerSecond} writes a second for ${seconds} s.`,
    );
  } finally {
    await fleet.stop();
  }
}

/** Renames in the edges' route folders show when a write is served. Polling would add load to what is measured. */
async function measure(fleet: BenchFleet, seconds: number): Promise<number[]> {
  const times: number[] = [];
  const open = new Map<string, Write>();
  const look = (index: number, file: string) => {
    const write = open.get(file);
    if (write === undefined || !fleet.read(fleet.edges[index]!, file)?.includes(write.text)) return;
    write.missing.delete(index);
    if (write.missing.size > 0) return;
    times.push(performance.now() - write.at);
    open.delete(file);
  };
  const watchers = fleet.edges.map(({ dir }, index) =>
    watch(path.join(dir, "run/routes/n"), (_, name) => name !== null && look(index, `n/${name}`)),
  );
  const began = Date.now();
  const puts: Promise<unknown>[] = [];
  for (let written = 0; written < seconds * writesPerSecond; written++) {
    await sleep(Math.max(0, began + (written * 1000) / writesPerSecond - Date.now()));
    const tenantId = fleet.id((written * 7919) % tenants);
    const record = fleet.record(tenantId, 2 + (written % 200));
    const missing = new Set(fleet.edges.keys());
    const text = `${record.backends["us-west-2"]![0]}:`;
    open.set(fleet.routeFile(tenantId), { text, at: performance.now(), missing });
    puts.push(fleet.put(record));
  }
  await Promise.all(puts);
  await fleet.until("every write is served", () => open.size === 0, 60_000);
  for (const watcher of watchers) watcher.close();
  return times;
}
