/** Reads each line that other processes append to a file exactly once, even when the file is replaced. */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";

const buffer = Buffer.allocUnsafe(256 * 1024);

interface Open {
  fd: number;
  offset: number;
  /** The incomplete line at the end. */
  rest: string;
}

export class Tail {
  readonly #file: string;
  #current: Open | undefined;
  /** The file that was replaced. A writer may still have it open for a moment. */
  #former: { open: Open; reads: number } | undefined;

  /** Begins at the file's current end, or at its start. A file that does not exist yet is read from its start. */
  constructor(file: string, from: "start" | "end") {
    this.#file = file;
    this.#current = open(file);
    if (from === "end" && this.#current !== undefined) this.#current.offset = fstatSync(this.#current.fd).size;
  }

  /** Bytes of the current file. */
  get size(): number {
    return this.#current === undefined ? 0 : fstatSync(this.#current.fd).size;
  }

  /** Did the file exist at the last attempt to open it? */
  get isThere(): boolean {
    return this.#current !== undefined;
  }

  read(): string[] {
    const lines: string[] = [];
    if (this.#former !== undefined) {
      take(this.#former.open, lines);
      if (++this.#former.reads >= 2) {
        closeSync(this.#former.open.fd);
        this.#former = undefined;
      }
    }
    this.#current ??= open(this.#file);
    if (this.#current !== undefined) take(this.#current, lines);
    return lines;
  }

  /** To call when the file is replaced: continues with the new file, and reads the old one to its end. */
  replaced(): void {
    if (this.#former !== undefined) closeSync(this.#former.open.fd);
    this.#former = this.#current === undefined ? undefined : { open: this.#current, reads: 0 };
    this.#current = undefined;
  }

  close(): void {
    for (const open of [this.#current, this.#former?.open]) if (open !== undefined) closeSync(open.fd);
    this.#current = undefined;
    this.#former = undefined;
  }
}

function open(file: string): Open | undefined {
  try {
    return { fd: openSync(file, "r"), offset: 0, rest: "" };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

function take(open: Open, lines: string[]): void {
  for (;;) {
    const read = readSync(open.fd, buffer, 0, buffer.length, open.offset);
    if (read === 0) return;
    open.offset += read;
    const pieces = (open.rest + buffer.toString("latin1", 0, read)).split("\n");
    open.rest = pieces.pop() ?? "";
    for (const piece of pieces) lines.push(piece);
  }
}
