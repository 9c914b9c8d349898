import { closeSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";

/** Suffix of a file that is still being written. No hostname contains this character. */
export const unfinished = "~";

/** Writes a temporary file, then renames it to `file`. `durable` waits for the disk before the rename. */
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
    if (code === "ENOENT" || code === "ESRCH") return undefined; // ESRCH: a file in /proc whose process just ended
    throw error;
  }
}
