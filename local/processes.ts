import { readFileSync } from "node:fs";

/** A process's command line; empty if the process does not exist or is a zombie. */
export function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return ""; // no such process
  }
}

export const isAlive = (pid: number) => commandOf(pid) !== "";

/** Kills a process at once. It is no error if the process has already ended. */
export function kill(pid: number): void {
  if (!(pid > 1)) throw new Error(`refuses to kill pid ${pid}: 0 would end this whole process group`);
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}
