/** The machine of an edge: its memory, and the room for the routes' files. */
import { readFileSync, statfsSync } from "node:fs";
import os from "node:os";

const tmpfs = 0x01021994;

export const memoryBytes = (): number => os.totalmem();

/** The share of the memory that nothing could use any more, or 0 where the kernel does not say. */
export function memoryInUse(): number {
  const text = readFileSync("/proc/meminfo", "utf8");
  const kilobytes = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(text)?.[1]);
  const share = 1 - kilobytes("MemAvailable") / kilobytes("MemTotal");
  return Number.isFinite(share) ? share : 0;
}

/** The share of a folder's file system that is in use: its bytes or its files. 0 if it is a disk, which has more room. */
export function filesInUse(dir: string): number {
  const { type, blocks, bavail, files, ffree } = statfsSync(dir);
  if (type !== tmpfs) return 0;
  return Math.max(blocks === 0 ? 0 : 1 - bavail / blocks, files === 0 ? 0 : 1 - ffree / files);
}
