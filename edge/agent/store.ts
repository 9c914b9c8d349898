/** The last good snapshot on disk: the manifest and the objects it names, by hash. */
import { mkdirSync, readdirSync, rmSync } from "node:fs";
import path from "node:path";
import { sha256 } from "../../schemas/signed.ts";
import { readIfThere, unfinished, writeAtomically } from "./files.ts";

export class Store {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
    mkdirSync(path.join(dir, "objects"), { recursive: true, mode: 0o755 });
  }

  /** The signed manifest that was last applied, to be verified like any other. */
  manifest(): string | undefined {
    return readIfThere(path.join(this.#dir, "manifest.json"));
  }

  /** An object whose bytes still have their hash. */
  object(hash: string): string | undefined {
    const text = readIfThere(path.join(this.#dir, "objects", hash));
    return text !== undefined && sha256(text) === hash ? text : undefined;
  }

  saveObject(hash: string, text: string): void {
    writeAtomically(path.join(this.#dir, "objects", hash), text, { durable: true });
  }

  /** Saved after its objects, so that a manifest on disk always has them; then what nothing names is removed. */
  saveManifest(text: string, named: Set<string>): void {
    writeAtomically(path.join(this.#dir, "manifest.json"), text, { durable: true });
    for (const name of readdirSync(path.join(this.#dir, "objects")))
      if (!named.has(name) || name.endsWith(unfinished)) rmSync(path.join(this.#dir, "objects", name));
  }
}
