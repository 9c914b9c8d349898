/** The last good snapshot on disk: the manifest and the objects it names, by hash. */
import { mkdirSync, readdirSync, rmSync } from "node:fs";
import path from "node:path";
import { sha256 } from "../../../schemas/signed.ts";
import { readIfThere, sync, unfinished, writeAtomically } from "../files.ts";

export class Store {
  readonly #dir: string;
  /** Objects that may not be on the disk yet. */
  readonly #unsynced = new Set<string>();

  constructor(dir: string) {
    this.#dir = dir;
    mkdirSync(path.join(dir, "objects"), { recursive: true, mode: 0o755 });
  }

  /** The signed manifest that was last applied. The caller must verify it like any other. */
  manifest(): string | undefined {
    return readIfThere(path.join(this.#dir, "manifest.json"));
  }

  /** The object, if its bytes still match the hash. */
  object(hash: string): string | undefined {
    const text = readIfThere(path.join(this.#dir, "objects", hash));
    return text !== undefined && sha256(text) === hash ? text : undefined;
  }

  /** It is sure to be on the disk only with the next manifest. */
  saveObject(hash: string, text: string): void {
    writeAtomically(path.join(this.#dir, "objects", hash), text);
    this.#unsynced.add(hash);
  }

  /** The last structure that served. The manifest may name a newer one that nginx could not use. */
  structure(): { hash: string; text: string } | undefined {
    const hash = readIfThere(path.join(this.#dir, "structure"));
    const text = hash === undefined ? undefined : this.object(hash);
    return hash === undefined || text === undefined ? undefined : { hash, text };
  }

  /** Its objects must be saved first, so that a manifest on disk always has them. `structure` is the one in use. */
  async saveManifest(text: string, structure: string): Promise<void> {
    if (this.#unsynced.size > 0) await sync(path.join(this.#dir, "objects"), this.#unsynced);
    this.#unsynced.clear();
    if (readIfThere(path.join(this.#dir, "structure")) !== structure)
      writeAtomically(path.join(this.#dir, "structure"), structure, { durable: true });
    writeAtomically(path.join(this.#dir, "manifest.json"), text, { durable: true });
  }

  /** Removes objects that are not in `named`, to make room for new ones. Keeps the structure that served last. */
  keepOnly(named: Set<string>): void {
    const structure = readIfThere(path.join(this.#dir, "structure"));
    for (const name of readdirSync(path.join(this.#dir, "objects")))
      if ((!named.has(name) && name !== structure) || name.endsWith(unfinished)) this.#remove(name);
  }

  #remove(name: string): void {
    rmSync(path.join(this.#dir, "objects", name));
    this.#unsynced.delete(name);
  }
}
