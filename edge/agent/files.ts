import { chmodSync, closeSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";

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

/** Replaces a file by an empty one to which nginx's workers, which run as another user, may append. */
export function writeShared(file: string): void {
  const beside = `${file}${unfinished}`;
  writeFileSync(beside, "", { mode: 0o666 });
  chmodSync(beside, 0o666); // independent of the umask
  renameSync(beside, file);
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
