import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";

/** Marks a file that is not whole yet; no hostname has this character. */
export const unfinished = "~";

/** Whole or not at all: written beside, then renamed over. `durable` waits for the disk first. */
export function writeAtomically(file: string, text: string, { durable = false } = {}): void {
  const beside = `${file}${unfinished}`;
  const fd = openSync(beside, "w", 0o644);
  try {
    writeSync(fd, text);
    if (durable) fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(beside, file);
}

export function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ESRCH") return undefined; // the latter: a file of /proc whose process just ended
    throw error;
  }
}
