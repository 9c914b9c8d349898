import {
  chmodSync,
  chownSync,
  closeSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { open } from "node:fs/promises";
import path from "node:path";

/** Suffix of a file that is still being written. No hostname contains this character. */
export const unfinished = "~";

/** Writes a temporary file, then renames it to `file`. `durable` waits for the disk, also for the new name. */
export function writeAtomically(file: string, text: string, { durable = false } = {}): void {
  const beside = `${file}${unfinished}`;
  try {
    const fd = openSync(beside, "w", 0o644);
    try {
      writeFileSync(fd, text); // unlike writeSync, never writes only a part: a full disk is an error
      if (durable) fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(beside, file);
    if (durable) syncNow(path.dirname(file));
  } catch (error) {
    rmSync(beside, { force: true });
    throw error;
  }
}

function syncNow(dir: string): void {
  const fd = openSync(dir, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** As many at a time as the threads that wait for the disk. */
const syncsMax = 4;

/** Waits until these files and their folder are on the disk. Much faster than one after the other, and nothing else waits. */
export async function sync(dir: string, names: Iterable<string>): Promise<void> {
  const left = [...names];
  const one = async (file: string) => {
    const handle = await open(file, "r");
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  };
  const workers = Array.from({ length: syncsMax }, async () => {
    for (let name = left.pop(); name !== undefined; name = left.pop()) await one(path.join(dir, name));
  });
  await Promise.all(workers);
  await one(dir);
}

/** Replaces a file by an empty one to which nginx's user may append, as a member of this group, or as everybody. */
export function writeShared(file: string, group: number | undefined): void {
  const beside = `${file}${unfinished}`;
  writeFileSync(beside, "");
  share(beside, group, 0o660);
  renameSync(beside, file);
}

/** Gives a file or folder to a group, or to everybody. The mode does not depend on the umask. */
export function share(file: string, group: number | undefined, mode: number): void {
  if (group !== undefined) chownSync(file, -1, group);
  chmodSync(file, group === undefined ? mode | (mode >> 3) : mode);
}

/** The id of a group of this machine. */
export function groupId(name: string): number {
  const line = readFileSync("/etc/group", "utf8")
    .split("\n")
    .find((text) => text.startsWith(`${name}:`));
  if (line === undefined) throw new Error(`this machine has no group ${name}`);
  return Number(line.split(":")[2]);
}

export function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ESRCH") return undefined; // ESRCH: a file in /proc whose process just ended
    throw error;
  }
}
