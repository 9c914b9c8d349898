/** Writes ten thousand tenants in one burst, and measures the time until every edge serves all of them. */
import { readdir } from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Figures } from "./figures.ts";
import { BenchFleet, type CloudOptions } from "./fleet.ts";

const readsTarget = "≤ 3";
/** How often the edges are looked at: listing six folders of 10,000 files takes up to 200 ms of the machine. */
const lookMs = 1000;

export async function onboarding({ tenants, profile, rates }: CloudOptions & { tenants: number }): Promise<void> {
  const fleet = await BenchFleet.start({ profile, rates });
  const figures = new Figures("onboarding", profile);
  try {
    const { states, database } = fleet.cloud.context.services;
    const { tables } = fleet.cloud.endpoints();
    const reads = new Map<string, number>();
    const transitions = states.transitions;
    database.onRead = (operation, table, items) => {
      const key = table === tables.tenants ? "records" : operation === "Query" ? "queried" : "got";
      reads.set(key, (reads.get(key) ?? 0) + items);
    };
    const workers = fleet.workers();
    const began = performance.now();
    await fleet.putAll(0, tenants);
    const writtenMs = performance.now() - began;
    const servedBy = fleet.edges.map(() => Number.NaN);
    await fleet.until(`${tenants} tenants are served`, async () => {
      await sleep(lookMs);
      for (const [index, { dir }] of fleet.edges.entries())
        if (Number.isNaN(servedBy[index]!) && (await readdir(path.join(dir, "run/routes/n"))).length >= tenants)
          servedBy[index] = performance.now() - began;
      return servedBy.every((ms) => !Number.isNaN(ms));
    });
    const { scanLedger } = await import("../aws/ledger/audit.ts");
    const served = Math.max(...servedBy);
    const readsWhenServed = new Map(reads);
    await fleet.until("all tenants are settled", async () => {
      await sleep(lookMs);
      let settled = 0;
      for await (const { items } of scanLedger())
        settled += items.filter(
          ({ sk, observed }) => sk === "STATUS" && (observed as { served?: string })?.served === "all",
        ).length;
      return settled >= tenants;
    });
    const settledMs = performance.now() - began;
    const count = (key: string) => (reads.get(key) ?? 0) / tenants;
    figures.add("all records written", writtenMs / 1000, "s", tenants);
    figures.add("all tenants served by all edges", served / 1000, "s", tenants, "≤ 60 s");
    figures.add("all statuses settled", settledMs / 1000, "s", tenants);
    figures.add("time until served ÷ time of the writes", served / writtenMs, "x", tenants);
    figures.add("state transitions per tenant", (states.transitions - transitions) / tenants, "", tenants, "≤ 0.05");
    figures.add("ledger items got per tenant", (readsWhenServed.get("got") ?? 0) / tenants, "", tenants, readsTarget);
    figures.add(
      "ledger items queried per tenant until served",
      (readsWhenServed.get("queried") ?? 0) / tenants,
      "",
      tenants,
    );
    figures.add("tenant records read per tenant", count("records"), "", tenants);
    const reloads = fleet.workers().filter((ids, index) => ids !== workers[index]).length;
    figures.add("nginx reloads", reloads, "", fleet.edges.length, "0");
    fleet.addBusiestPartition(figures);
    figures.write(`${fleet.edges.length} edges in 3 regions, ${tenants} records by BatchWriteItem.`);
  } finally {
    await fleet.stop();
  }
}
