/** Cleans up after killed clouds, and prevents two clouds from sharing a folder. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { writeAtomically } from "../edge/agent/files.ts";
import { nginxIn } from "../edge/agent/nginx/nginx.ts";
import { commandOf, isAlive, kill } from "./processes.ts";

export const pidFile = "cloud.pid";

const pidIn = (file: string) => (existsSync(file) ? Number(readFileSync(file, "utf8").trim() || 0) : 0);
/** Whether the process is one of our programs that boot clouds: another program may have reused the pid. */
const isCloud = (pid: number) =>
  pid > 1 && pid !== process.pid && /local\/(demo\/)?main\.ts|vitest/.test(commandOf(pid));

/** Claims the folder for the logs and endpoints of one cloud. @returns a function that releases the folder */
export function claimDir(dir: string): () => void {
  const file = path.join(dir, pidFile);
  const holder = pidIn(file);
  if (isCloud(holder))
    throw new Error(
      `an embedded cloud already runs (process ${holder}): stop it, or set LANDFALL_LOCAL to another folder`,
    );
  mkdirSync(dir, { recursive: true });
  writeAtomically(file, String(process.pid));
  return () => rmSync(file, { force: true });
}

/** Cleans up after clouds that no longer run: kills nginx that outlived its agent and cloud, removes folders. */
export function sweepScratch(): void {
  for (const name of readdirSync(os.tmpdir())) {
    const scratch = path.join(os.tmpdir(), name);
    const owner = path.join(scratch, pidFile);
    if (!name.startsWith("landfall-") || !existsSync(owner) || isAlive(pidIn(owner))) continue;
    const edges = path.join(scratch, "edges");
    for (const edge of existsSync(edges) ? readdirSync(edges) : []) {
      for (const pid of nginxIn(path.join(edges, edge, "run"))) kill(pid);
    }
    rmSync(scratch, { recursive: true, force: true });
  }
}
