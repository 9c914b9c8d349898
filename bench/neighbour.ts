/** Measures how long a tenant's change takes alone, and while another tenant writes fifty times a second. */
import { setTimeout as sleep } from "node:timers/promises";
import { Figures, percentile } from "./figures.ts";
import { BenchFleet, type CloudOptions } from "./fleet.ts";

const changes = 30;
/** Less than a tenant's own pace, so that no change of the quiet tenant waits. */
const betweenMs = 1100;
const loudEveryMs = 20;
const lookMs = 5;

export async function neighbour({ profile, rates }: CloudOptions): Promise<void> {
  const fleet = await BenchFleet.start({ profile, rates });
  const figures = new Figures("neighbour", profile);
  try {
    const { states } = fleet.cloud.context.services;
    await changesOf(fleet, 2);
    const alone = await changesOf(fleet, changes);
    let [isOver, written] = [false, 0];
    const loud = (async () => {
      for (; !isOver; written++) {
        void fleet.put(fleet.record("tenant-loud", 1 + (written % 250)));
        await sleep(loudEveryMs);
      }
    })();
    await sleep(3000);
    const before = { written, transitions: states.transitions, at: performance.now() };
    const beside = await changesOf(fleet, changes);
    const seconds = (performance.now() - before.at) / 1000;
    const [writes, transitions] = [written - before.written, states.transitions - before.transitions];
    isOver = true;
    await loud;
    figures.spread("a change of a tenant alone", alone, "ms");
    figures.spread("the same beside a tenant that writes 50 times a second", beside, "ms");
    figures.add("beside ÷ alone, p50", percentile(beside, 0.5) / percentile(alone, 0.5), "x", changes, "≤ 2");
    figures.add("writes of the other tenant", writes / seconds, "/s", writes);
    figures.add("transitions for both tenants", transitions / seconds, "/s", transitions);
    figures.write(`${fleet.edges.length} edges in 3 regions; each change is served before the next.`);
  } finally {
    await fleet.stop();
  }
}

/** Times from the write until every edge has it. */
async function changesOf(fleet: BenchFleet, count: number): Promise<number[]> {
  const times: number[] = [];
  const file = fleet.routeFile("tenant-quiet");
  for (let index = 0; index < count; index++) {
    const record = fleet.record("tenant-quiet", 1 + (((performance.now() * 7) | 0) % 250));
    const address = `${record.backends["us-west-2"]![0]}:`;
    const began = performance.now();
    await fleet.put(record);
    while (!fleet.edges.every((edge) => fleet.read(edge, file)?.includes(address))) await sleep(lookMs);
    times.push(performance.now() - began);
    await sleep(betweenMs);
  }
  return times;
}
