/** Measures what a connection costs through an edge and through its alternatives, in turns, in the same run. */
import { type Figures, percentile } from "./figures.ts";
import { Client, startBackend } from "./load/processes.ts";
import { cpuOf, direct, haproxy, landfall, nginxMap, nginxUpstreams, type Peer, type Setting } from "./peers.ts";

const sizes = [100, 10_000, 50_000];
const rounds = 11;
const perRound = 2000;
const parallel = 16;
const alone = 300;
const echoes = 500;
/** The number of names in the reference map. Costs are divided by the cost through this map. */
const referenceSize = 10_000;

const parents = ["wild.example.com"];
const nameOf = (index: number) => `t${index}.tenants.example.com`;
const manyOf = (count: number, name: (index: number) => string) => Array.from({ length: count }, (_, i) => name(i));
const kinds = {
  exact: (size: number) => manyOf(Math.min(size, 10_000), nameOf),
  wildcard: () => manyOf(1000, (index) => `t${index}.wild.example.com`),
  unknown: () => manyOf(1000, (index) => `t${index}.nobody.example.org`),
};
type Kind = keyof typeof kinds;

interface Measured {
  cpu: Record<Kind, number[]>;
  rate: number[];
  setup: number[];
  echo: number[];
}

/** `only`: a part of the name of the only peer to measure, beside the edge and `direct`. */
export async function datapath(figures: Figures, only?: string): Promise<void> {
  const rows: string[][] = [];
  for (const size of sizes) {
    const measured = await measure(size, only);
    const median = (values: number[]) => percentile(values, 0.5);
    const reference = measured.get("reference")!;
    const straight = measured.get("direct")!;
    for (const [name, { cpu, rate, setup, echo }] of measured) {
      if (name === "reference") continue;
      const ratio = (kind: Kind) => median(cpu[kind].map((value, at) => value / reference.cpu[kind][at]!));
      const toExact = (kind: Kind) => median(cpu[kind].map((value, at) => value / reference.cpu.exact[at]!));
      const paired = median(rate.map((value, at) => value / straight.rate[at]!));
      const what = `${size.toLocaleString("en")} names, ${name}`;
      figures.add(`${what}: connections a second ÷ direct`, paired, "x", rounds);
      figures.spread(`${what}: first byte`, setup, "µs");
      figures.spread(`${what}: echo`, echo, "µs");
      const costs = name === "direct" ? [] : (["exact", "wildcard", "unknown"] as const);
      for (const kind of costs) {
        if (cpu[kind].length === 0) continue;
        const target = name === "Landfall's edge" && size >= referenceSize ? targets[kind] : undefined;
        figures.add(`${what}: CPU, ${kind} name`, median(cpu[kind]), "µs", rounds);
        figures.add(`${what}: CPU, ${kind} name ÷ the map of ${referenceSize} names`, ratio(kind), "x", rounds, target);
      }
      if (costs.length > 0 && cpu.unknown.length > 0)
        figures.add(`${what}: CPU, unknown name ÷ exact name of the map`, toExact("unknown"), "x", rounds);
      const short = (value: number, digits = 0) => (Number.isNaN(value) ? "–" : value.toFixed(digits));
      rows.push([
        size.toLocaleString("en"),
        name,
        short(paired, 2),
        ...(["exact", "wildcard", "unknown"] as const).map((kind) =>
          name === "direct" || cpu[kind].length === 0 ? "–" : `${short(median(cpu[kind]))} (${short(ratio(kind), 2)})`,
        ),
        `${short(median(setup))} / ${short(percentile(setup, 0.99))}`,
        `${short(median(echo))} / ${short(percentile(echo, 0.99))}`,
      ]);
    }
  }
  figures.matrix(
    [
      "names",
      "through",
      "connections/s ÷ direct",
      "CPU µs exact (÷ map)",
      "CPU µs wildcard (÷ map)",
      "CPU µs unknown (÷ map)",
      "first byte µs p50 / p99",
      "echo µs p50 / p99",
    ],
    rows,
  );
  figures.write(
    `${rounds} rounds in turns, ${perRound} connections each, ${parallel} at a time; first byte and echo with one at a time. ` +
      "CPU is the proxy's, until a connection's first byte returns; ÷ map is the median of each round's ratio to " +
      `nginx's plain map of ${referenceSize} names. Proxies have one worker, routes are on tmpfs.`,
  );
}

const targets: Record<Kind, string> = { exact: "≤ 1.2", wildcard: "≤ 1.3", unknown: "≤ 1" };

async function measure(size: number, only: string | undefined): Promise<Map<string, Measured>> {
  const backend = await startBackend();
  const client = new Client();
  const setting: Setting = { names: manyOf(size, nameOf), wildcards: parents, backend: backend.address };
  const peers = new Map<string, Peer>();
  const measured = new Map<string, Measured>();
  try {
    peers.set("reference", await nginxMap({ ...setting, names: manyOf(referenceSize, nameOf) }));
    for (const start of [direct, landfall, nginxMap, nginxUpstreams, haproxy]) {
      const peer = await start(setting);
      const wanted = only === undefined || start === landfall || start === direct || peer.name.includes(only);
      if (wanted) peers.set(peer.name, peer);
      else await peer.stop();
    }
    for (let round = 0; round < rounds; round++)
      for (const [name, peer] of peers) {
        const into = measured.get(name) ?? {
          cpu: { exact: [], wildcard: [], unknown: [] },
          rate: [],
          setup: [],
          echo: [],
        };
        measured.set(name, into);
        await one(client, peer, size, into);
      }
  } finally {
    client.stop();
    backend.stop();
    for (const peer of peers.values()) await peer.stop();
  }
  return measured;
}

async function one(client: Client, peer: Peer, size: number, into: Measured): Promise<void> {
  const { host, port } = peer;
  const cpu = () => peer.pids().reduce((sum, pid) => sum + cpuOf(pid), 0);
  for (const kind of Object.keys(kinds) as Kind[]) {
    if (kind !== "exact" && !peer.wildcards) continue;
    const before = cpu();
    const names = kinds[kind](size);
    const { seconds, failed } = await client.ask({ kind: "connect", host, port, names, count: perRound, parallel });
    if (failed > 0 !== (kind === "unknown"))
      throw new Error(`${peer.name}: ${failed} of ${perRound} ${kind} names failed`);
    into.cpu[kind].push((cpu() - before) / perRound);
    if (kind === "exact") into.rate.push(perRound / seconds);
  }
  const names = kinds.exact(size);
  const single = await client.ask({ kind: "connect", host, port, names, count: alone, parallel: 1 });
  into.setup.push(...single.times);
  into.echo.push(...(await client.ask({ kind: "echo", host, port, name: names[0]!, count: echoes })).times);
}
