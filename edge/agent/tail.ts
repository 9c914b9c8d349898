/** Reads each line that other processes append to a file exactly once, even when the file is replaced. */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";

const buffer = Buffer.allocUnsafe(256 * 1024);
/** What one call reads at most: who writes the file may make it as long as they like. The rest comes with the next call. */
const readsMax = 64;
/** A longer line is none of those that are written here. */
const lineMax = 64 * 1024;
/** A replaced file is read until it is quiet and the new one is written to, and so often at most. */
const quietReads = 2;
const formerReadsMax = 240;

interface Open {
  fd: number;
  offset: number;
  /** The incomplete line at the end. */
  rest: string;
}

export class Tail {
  readonly #file: string;
  #current: Open | undefined;
  /** The file that was replaced. A writer may still have it open. */
  #former: { open: Open; reads: number; quiet: number } | undefined;
  #isLeftBehind = false;

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

  /** The last call found lines in a file that was replaced, and none in the new one. */
  get isLeftBehind(): boolean {
    return this.#isLeftBehind;
  }

  read(): string[] {
    const lines: string[] = [];
    if (this.#former !== undefined) take(this.#former.open, lines);
    const late = lines.length;
    this.#current ??= open(this.#file);
    if (this.#current !== undefined) take(this.#current, lines);
    const isNew = this.size > 0;
    this.#isLeftBehind = late > 0 && !isNew;
    if (this.#former === undefined) return lines;
    this.#former.reads++;
    this.#former.quiet = late > 0 ? 0 : this.#former.quiet + 1;
    if ((isNew && this.#former.quiet >= quietReads) || this.#former.reads >= formerReadsMax) {
      closeSync(this.#former.open.fd);
      this.#former = undefined;
    }
    return lines;
  }

  /** To call when the file is replaced: continues with the new file, and reads the old one to its end. */
  replaced(): void {
    if (this.#former !== undefined) closeSync(this.#former.open.fd);
    this.#former = this.#current === undefined ? undefined : { open: this.#current, reads: 0, quiet: 0 };
    this.#current = undefined;
  }

  close(): void {
    for (const open of [this.#current, this.#former?.open]) if (open !== undefined) closeSync(open.fd);
    this.#current = undefined;
    this.#former = undefined;
  }
}

/** The whole lines of a file; none if it does not exist. */
export function readLines(file: string): string[] {
  const tail = new Tail(file, "start");
  try {
    return tail.read();
  } finally {
    tail.close();
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
  for (let reads = 0; reads < readsMax; reads++) {
    const read = readSync(open.fd, buffer, 0, buffer.length, open.offset);
    if (read === 0) return;
    open.offset += read;
    const pieces = (open.rest + buffer.toString("latin1", 0, read)).split("\n");
    open.rest = pieces.pop() ?? "";
    if (open.rest.length > lineMax) open.rest = "";
    for (const piece of pieces) lines.push(piece);
  }
}
