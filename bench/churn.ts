/** Keeps sessions open while backends change all the time. Measures lost sessions, reloads and memory growth. */
import { setTimeout as sleep } from "node:timers/promises";
import { tlsRoute } from "../test/fixtures/region.ts";
import { type Figures, percentile } from "./figures.ts";
import { type Backend, Client, startBackend } from "./load/processes.ts";
import { family, memoryOf, nginxMap } from "./peers.ts";
import { edgeAddress, startWholeEdge } from "./whole-edge.ts";

const sessions = 2000;
/** Each session is replaced after this time. Real ones last for hours, and would keep old workers alive for hours. */
const lifeSeconds = 100;
const changesPerSecond = 20;
const tenants = 1000;
/** A controller that must reload would do so once for many changes. */
const reloadEveryMs = 5000;
const sampleMs = 1000;
const settleSeconds = 20;
const warmSeconds = 60;
const warmLifeSeconds = 10;

const nameOf = (index: number) => `t${index}.tenants.example.com`;
const names = Array.from({ length: tenants }, (_, index) => nameOf(index));

/** The system under test: where it listens, how names are routed to another backend, and which processes it has. */
interface Subject {
  name: string;
  host: string;
  port: number;
  lead(names: string[], backend: string): Promise<void>;
  pids(): number[];
  /** The agent's pid, if there is an agent. */
  agent?: () => number | undefined;
  stop(): Promise<void>;
}

export async function churn(figures: Figures, seconds: number, only?: string): Promise<void> {
  for (const start of [landfall, reloading]) {
    const [a, b] = await Promise.all([startBackend("a"), startBackend("b")]);
    const subject = await start(a);
    try {
      if (only === undefined || subject.name.includes(only)) await run(figures, subject, [a, b], seconds);
    } finally {
      await subject.stop();
      a.stop();
      b.stop();
    }
  }
  figures.write(
    `After a minute in which every session was replaced six times: ${sessions.toLocaleString("en")} sessions, each replaced after ${lifeSeconds} s; ${changesPerSecond} backend changes a second ` +
      `over ${tenants.toLocaleString("en")} tenants for ${seconds} s, one system after the other. The peer reloads every ${reloadEveryMs / 1000} s. ` +
      "Memory is the proportional share (PSS) of each process, summed over nginx's processes.",
  );
}

async function run(figures: Figures, subject: Subject, backends: Backend[], seconds: number): Promise<void> {
  const client = new Client();
  const { host, port, name } = subject;
  // A warm-up: memory that depends on sessions reaches its size before the first change.
  const warm = { count: sessions, seconds: warmSeconds, lifeSeconds: warmLifeSeconds };
  await client.ask({ kind: "hold", host, port, names, ...warm });
  const held = client.ask({
    kind: "hold",
    host,
    port,
    names,
    count: sessions,
    seconds: settleSeconds + seconds,
    lifeSeconds,
  });
  await sleep(settleSeconds * 1000);
  const memory: number[] = [];
  const agent: number[] = [];
  const workers = new Set<number>();
  let changes = 0;
  let sampled = 0;
  const began = performance.now();
  for (let now = 0; now < seconds * 1000; now = performance.now() - began) {
    if (now >= sampled) {
      const pids = subject.pids();
      for (const pid of pids.slice(1)) workers.add(pid);
      memory.push(pids.reduce((sum, pid) => sum + memoryOf(pid), 0));
      const agentPid = subject.agent?.();
      if (agentPid !== undefined) agent.push(memoryOf(agentPid));
      sampled += sampleMs;
    }
    const due = Math.floor((now / 1000) * changesPerSecond) - changes;
    const led = Array.from({ length: due }, (_, index) => names[((changes + index) * 37) % tenants]!);
    if (due > 0) await subject.lead(led, backends[Math.floor(changes / tenants) % 2 === 0 ? 1 : 0]!.address);
    changes += due;
    await sleep(200);
  }
  const { lost = 0, failed, times } = await held;
  client.stop();
  const ours = name === "Landfall's edge";
  const start = percentile(memory.slice(0, 10), 0.5);
  const end = percentile(memory.slice(-10), 0.5);
  figures.add(`${name}: sessions lost`, lost, "", sessions, ours ? "0" : undefined);
  figures.add(`${name}: new sessions refused`, failed, "", times.length, ours ? "0" : undefined);
  figures.add(`${name}: changes`, changes, "", 1);
  figures.add(`${name}: reloads`, workers.size - 1, "", 1, ours ? "0" : undefined);
  figures.add(`${name}: memory at the start`, start, "MB", 10);
  figures.add(`${name}: memory at the end`, end, "MB", 10);
  figures.add(`${name}: memory at the end ÷ at the start`, end / start, "x", 10, ours ? "0.95–1.05" : undefined);
  figures.add(`${name}: memory, maximum`, Math.max(...memory), "MB", memory.length);
  if (agent.length > 0)
    figures.add(`${name}: agent's memory, maximum`, Math.max(...agent), "MB", agent.length, "≤ 120 MB");
  figures.spread(`${name}: new session → first byte`, times, "µs");
}

/** The whole edge: changes are published as signed snapshots, and its agent pulls them. */
async function landfall(first: Backend): Promise<Subject> {
  const routes = names.map((name, index) => tlsRoute(20_000 + index, `t${index}`, name, first.address));
  const { region, edge, stop } = await startWholeEdge(routes);
  return {
    name: "Landfall's edge",
    ...edgeAddress,
    lead: async (led, backend) => {
      for (const name of led) {
        const index = names.indexOf(name);
        routes[index] = tlsRoute(20_000 + index, `t${index}`, name, backend);
      }
      region.publish(routes);
    },
    pids: () => family(edge.pid!),
    agent: () => edge.agentPid,
    stop,
  };
}

/** nginx with a map. All changes of some seconds are written together, with one reload. */
async function reloading(first: Backend): Promise<Subject> {
  const peer = await nginxMap({ names, backend: first.address });
  const waiting = new Map<string, string>();
  const timer = setInterval(() => {
    if (waiting.size === 0) return;
    void peer.change!(new Map(waiting));
    waiting.clear();
  }, reloadEveryMs);
  return {
    ...peer,
    name: "nginx, a map reloaded",
    lead: async (led, backend) => {
      for (const name of led) waiting.set(name, backend);
    },
    stop: async () => {
      clearInterval(timer);
      await peer.stop();
    },
  };
}
