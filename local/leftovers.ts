/** What a cloud that was killed leaves behind, and what two clouds must not share. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { nginxIn } from "../edge/agent/nginx/nginx.ts";
import { commandOf, isAlive, kill } from "./processes.ts";

export const pidFile = "cloud.pid";

const pidIn = (file: string) => (existsSync(file) ? Number(readFileSync(file, "utf8").trim() || 0) : 0);
/** A program of ours that boots clouds; a pid may be another's by now. */
const isCloud = (pid: number) =>
  pid > 1 && pid !== process.pid && /local\/(demo\/)?main\.ts|vitest/.test(commandOf(pid));

/** One cloud a folder: its logs and endpoints are one cloud's. @returns what gives the folder back */
export function claimDir(dir: string): () => void {
  const file = path.join(dir, pidFile);
  const holder = pidIn(file);
  if (isCloud(holder))
    throw new Error(
      `an embedded cloud runs already (process ${holder}): stop it, or set LANDFALL_LOCAL to another folder`,
    );
  mkdirSync(dir, { recursive: true });
  writeFileSync(file, String(process.pid));
  return () => rmSync(file, { force: true });
}

/** Ends what clouds that no longer run left behind: nginx that outlived both its agent and its cloud, and their folders. */
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
