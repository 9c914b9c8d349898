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
