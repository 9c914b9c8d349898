import { closeSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";

/** Marks a file that is not whole yet; no hostname has this character. */
export const unfinished = "~";

/** Whole or not at all: written beside, then renamed over. `durable` waits for the disk first. */
export function writeAtomically(file: string, text: string, { durable = false } = {}): void {
  const beside = `${file}${unfinished}`;
  try {
    const fd = openSync(beside, "w", 0o644);
    try {
      writeFileSync(fd, text); // unlike writeSync, never a part of it: a full disk is an error
      if (durable) fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(beside, file);
  } catch (error) {
    rmSync(beside, { force: true });
    throw error;
  }
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
