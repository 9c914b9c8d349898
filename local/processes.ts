import { readFileSync } from "node:fs";

/** A process's command line; empty when there is none, or when it ended and only waits to be reaped. */
export function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return ""; // no such process
  }
}

export const isAlive = (pid: number) => commandOf(pid) !== "";

/** Ends a process at once; one that ended by itself is fine. */
export function kill(pid: number): void {
  if (!(pid > 1)) throw new Error(`${pid} is no process: 0 would be this one's whole group`);
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}
