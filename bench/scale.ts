/** Counts what one change, one report, one audit and an idle month use of AWS, for many tenants and edges. */
import { partitionLimits } from "../local/services/dynamodb/capacity.ts";
import { edgeLimits, scheduleMinutes } from "../schemas/limits.ts";
import { bundle } from "../test/simulation/functions.ts";
import { Figures } from "./figures.ts";
import { combined, dollars, minus, times, type Use } from "./scale/meter.ts";
import { monthSeconds, prices } from "./scale/prices.ts";
import { ScaleWorld } from "./scale/world.ts";

const edgeCounts = [6, 20, 120];
const changes = 20;
/** How long reports are counted, between two runs of reconcile, and the idle time in which reconcile runs five times. */
const reportsMs = 40_000;
const idleMs = 5 * 60_000;
const loadSeconds = 20;
const loadPerSecond = 10;

interface Measured {
  tenants: number;
  edges: number;
  /** One of each; and a month without changes, the edges' polls not included. */
  change: Use;
  report: Use;
  audit: Use;
  month: Use;
  /** One of ten changes a second. */
  loaded: Use;
  /** At ten changes a second, as a share of what a partition takes. */
  peakWrite: number;
  peakRead: number;
}

export async function scale({ tenants: most }: { tenants: number }): Promise<void> {
  const figures = new Figures("scale", "none");
  const code = await bundle(undefined, { asOnAws: true });
  const tenantCounts = [1000, 10_000, 100_000].filter((count) => count <= Math.max(1000, most));
  const all: Measured[] = [];
  for (const tenants of tenantCounts)
    for await (const one of measure(new ScaleWorld(code), tenants)) {
      all.push(one);
      add(figures, one, all);
    }
  figures.write(
    "Counted in virtual time over the real handlers and state machines, at list prices of late 2025; one cell.",
  );
}

async function* measure(world: ScaleWorld, tenants: number): AsyncGenerator<Measured> {
  const id = (index: number) => `tenant-${index}`;
  try {
    await world.grow(edgeCounts[0]!);
    for (let from = 0; from < tenants; from += 500)
      await world.write(
        Array.from({ length: Math.min(500, tenants - from) }, (_, index) => id(from + index)),
        1,
      );
    for (const edges of edgeCounts) {
      await world.grow(edges);
      const some = (count: number, salt: number) =>
        Array.from({ length: count }, (_, index) => id((index * 7919 + salt * 101) % tenants));
      const baseline = await world.during(() => world.passBetweenReconciles(reportsMs));
      const idle = await world.during(() => world.pass(idleMs));
      const audit = await world.during(() => world.audit());
      let busyMs = 0;
      const busy = await world.during(async () => {
        const from = world.virtualMs;
        for (const tenantId of some(changes, edges)) await world.write([tenantId], 2 + edges);
        busyMs = world.virtualMs - from;
      });
      world.meter.startOver();
      const load = await world.during(() =>
        world.writeEvery(some(loadSeconds * loadPerSecond, edges + 1), 3 + edges, loadPerSecond),
      );
      const peaks = world.meter.capacity.busiest(Number.POSITIVE_INFINITY);
      const perMonth = (use: Use, seconds: number) => times(use, monthSeconds / seconds);
      const month = combined(
        (name) => perMonth(idle, idleMs / 1000)[name] + perMonth(audit, scheduleMinutes.audit * 60)[name],
      );
      yield {
        tenants,
        edges,
        change: times(minus(busy, times(idle, busyMs / idleMs)), 1 / changes),
        report: times(baseline, 1 / ((reportsMs / edgeLimits.reportEveryMs) * edges)),
        audit,
        month,
        loaded: times(load, 1 / (loadSeconds * loadPerSecond)),
        peakWrite: Math.max(...peaks.map(({ peakWriteUnits }) => peakWriteUnits)) / partitionLimits.writeUnits,
        peakRead: Math.max(...peaks.map(({ peakReadUnits }) => peakReadUnits)) / partitionLimits.readUnits,
      };
    }
  } finally {
    await world.stop();
  }
}

const unitsOf = (use: Use) => use.readUnits + use.writeUnits;

function add(figures: Figures, one: Measured, all: Measured[]): void {
  const { tenants, edges, change, report, audit, month } = one;
  const at = `${tenants} tenants, ${edges} edges`;
  figures.add(`a change, ${at}: read units`, change.readUnits, "", changes);
  figures.add(`a change, ${at}: write units`, change.writeUnits, "", changes);
  figures.add(
    `a change, ${at}: S3 requests of the control plane`,
    change.puts + change.gets + change.lists,
    "",
    changes,
  );
  figures.add(`a change, ${at}: bytes for each edge`, change.edgeBytes / edges, "B", changes, "≤ 100000");
  figures.add(`a change, ${at}: transitions`, change.transitions, "", changes);
  figures.add(`a change, ${at}: dollars`, dollars(change), "$", changes);
  const first = all.find((other) => other.edges === edges)!;
  if (first !== one)
    figures.add(
      `a change, ${at}: units ÷ at ${first.tenants} tenants`,
      unitsOf(change) / unitsOf(first.change),
      "x",
      changes,
      "≤ 1.5",
    );
  figures.add(`a report, ${at}: units`, unitsOf(report), "", 4 * edges);
  figures.add(`an audit, ${at}: read units`, audit.readUnits, "", 1);
  figures.add(`an audit, ${at}: S3 requests`, audit.puts + audit.gets + audit.lists, "", 1);
  figures.add(`an audit, ${at}: dollars`, dollars(audit), "$", 1);
  const target = tenants === 1000 && edges === 6 ? "≤ 30" : undefined;
  figures.add(`an idle month, ${at}: dollars without polls`, dollars(month) + prices.keyMonth, "$", 1, target);
  figures.add(`an idle month, ${at}: transitions`, month.transitions, "", 1);
  const polls = (edges * monthSeconds * 1000) / edgeLimits.quietPollMs;
  figures.add(`an idle month, ${at}: dollars of polls`, polls * prices.s3Get, "$", 1);
  const { loaded } = one;
  const n = loadSeconds * loadPerSecond;
  figures.add(`one of ${loadPerSecond} changes a second, ${at}: transitions`, loaded.transitions, "", n);
  figures.add(`one of ${loadPerSecond} changes a second, ${at}: dollars`, dollars(loaded), "$", n);
  const limit = edges === 120 ? "≤ 50" : undefined;
  figures.add(
    `${loadPerSecond} changes a second, ${at}: busiest partition, writes`,
    100 * one.peakWrite,
    "%",
    1,
    limit,
  );
  figures.add(`${loadPerSecond} changes a second, ${at}: busiest partition, reads`, 100 * one.peakRead, "%", 1, limit);
}
