/** Measures the cost of publishing one change among a hundred tenants, and among ten thousand. */
import { setTimeout as sleep } from "node:timers/promises";
import { Figures, percentile } from "./figures.ts";
import { BenchFleet, type CloudOptions } from "./fleet.ts";

const few = 100;
const changes = 60;

export async function publish({ tenants, profile, rates }: CloudOptions & { tenants: number }): Promise<void> {
  const fleet = await BenchFleet.start({ profile, rates });
  const figures = new Figures("publish", profile);
  try {
    await onboard(fleet, 0, few);
    const small = await measure(fleet, few);
    await onboard(fleet, few, tenants);
    const large = await measure(fleet, tenants);
    figures.spread(`publish-cell for one change, ${few} tenants`, small, "ms");
    figures.spread(`publish-cell for one change, ${tenants} tenants`, large, "ms");
    const ratio = percentile(large, 0.5) / percentile(small, 0.5);
    figures.add(`p50 at ${tenants} ÷ p50 at ${few}`, ratio, "x", changes, "≤ 1.5");
    figures.write(`${fleet.edges.length} edges in 3 regions; one change at a time, each served before the next.`);
  } finally {
    await fleet.stop();
  }
}

async function onboard(fleet: BenchFleet, from: number, to: number): Promise<void> {
  await fleet.putAll(from, to);
  for (let index = from; index < to; index += 1) {
    const file = fleet.routeFile(fleet.id(index));
    await fleet.until(`${fleet.id(index)} is served`, () =>
      fleet.edges.every((edge) => fleet.read(edge, file) !== undefined),
    );
  }
  await sleep(8000); // waits for the burst's remaining work
}

/** Durations of the invocations that committed one change each. */
async function measure(fleet: BenchFleet, tenants: number): Promise<number[]> {
  const durations: number[] = [];
  for (let change = 0; change < changes; change++) {
    const tenantId = fleet.id((change * 7919) % tenants);
    const record = fleet.record(tenantId, 2 + (change % 200));
    const before = fleet.durations("publish-cell").length;
    await fleet.put(record);
    const text = `${record.backends["us-west-2"]![0]}:`;
    await fleet.until("the change is served", () =>
      fleet.edges.every((edge) => fleet.read(edge, fleet.routeFile(tenantId))?.includes(text)),
    );
    await sleep(300); // waits for the log line, and for the settling, which is not measured
    durations.push(Math.max(...fleet.durations("publish-cell").slice(before)));
  }
  return durations;
}
