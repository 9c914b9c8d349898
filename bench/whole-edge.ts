/** A whole edge for a bench: its agent pulls signed snapshots from a region that the bench controls. */
import { execFileSync } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { LocalEdge } from "../local/edges/edge.ts";
import { structureOn } from "../local/edges/standalone.ts";
import type { Route, Structure } from "../schemas/snapshot.ts";
import { Region, removeDir } from "../test/fixtures/region.ts";

export const edgeAddress = { host: "127.96.1.1", port: 8443 };

export interface WholeEdge {
  region: Region;
  edge: LocalEdge;
  stop(): Promise<void>;
}

/** Returns once it serves these routes. */
export async function startWholeEdge(routes: Route[], changes: Partial<Structure> = {}): Promise<WholeEdge> {
  const dir = mkdtempSync("/dev/shm/landfall-bench-");
  execFileSync("chmod", ["755", dir]);
  const structure = structureOn({ edgeTlsPort: edgeAddress.port, portBase: 10_000, portCount: 200 });
  const region = await Region.start({ ...structure, healthPort: 8080, ...changes });
  region.publish(routes);
  const edge = await region.edge(dir, edgeAddress.host);
  edge.start();
  process.on("exit", () => edge.powerOff("stopped"));
  for (const until = Date.now() + 30_000; region.reports.at(-1)?.serving !== true; await sleep(50))
    if (Date.now() > until) throw new Error("the edge does not serve within 30 s");
  const stop = async () => {
    await edge.stop();
    await region.stop();
    removeDir(dir);
  };
  return { region, edge, stop };
}
