/**
 * What nginx appends to its logs: read line by line, and replaced before it fills the disk. The files are the agent's: nginx's
 * user may only write into them, so what it writes is bounded here and believed for what it can know.
 */
import { statSync } from "node:fs";
import path from "node:path";
import { writeShared } from "../files.ts";
import { Tail } from "../tail.ts";

export const failedLog = "logs/failed.log";
export const endedLog = "logs/ended.log";
export const errorLog = "logs/error.log";
export const nginxLogs = [failedLog, endedLog, errorLog];

const bytesMax = 4 * 1024 * 1024;

export class NginxLogs {
  readonly #dir: string;
  readonly #group: number | undefined;
  readonly #reopen: () => void;
  readonly #failed: Tail;
  readonly #ended: Tail;

  /** `reopen` makes nginx open its logs again. */
  constructor(dir: string, group: number | undefined, reopen: () => void) {
    this.#dir = dir;
    this.#group = group;
    this.#reopen = reopen;
    this.#failed = new Tail(path.join(dir, failedLog), "end");
    this.#ended = new Tail(path.join(dir, endedLog), "end");
  }

  /** Backends that did not take a user's connection, once for each, since the last call. */
  readFailed(): string[] {
    return this.#read(this.#failed, failedLog).filter((line) => /^\S+:\d{1,5}$/.test(line));
  }

  /** Lines about sessions that ended. */
  readEnded(): string[] {
    return this.#read(this.#ended, endedLog);
  }

  /** Nobody reads nginx's errors here; a storm of them must not fill the disk either. */
  boundErrors(): void {
    if (statSync(path.join(this.#dir, errorLog)).size > bytesMax) this.#replace(errorLog);
  }

  #read(tail: Tail, file: string): string[] {
    const lines = tail.read();
    if (tail.isLeftBehind) this.#reopen(); // the last signal was lost
    if (tail.size > bytesMax) {
      this.#replace(file);
      tail.replaced();
    }
    return lines;
  }

  #replace(file: string): void {
    writeShared(path.join(this.#dir, file), this.#group);
    this.#reopen();
  }
}
