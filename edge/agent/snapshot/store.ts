/** The last good snapshot on disk: the manifest and the objects it names, by hash. */
import { mkdirSync, readdirSync, rmSync } from "node:fs";
import path from "node:path";
import { sha256 } from "../../../schemas/signed.ts";
import { readIfThere, unfinished, writeAtomically } from "../files.ts";

export class Store {
  readonly #dir: string;

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

  saveObject(hash: string, text: string): void {
    writeAtomically(path.join(this.#dir, "objects", hash), text, { durable: true });
  }

  /** The last structure that served. The manifest may name a newer one that nginx could not use. */
  structure(): { hash: string; text: string } | undefined {
    const hash = readIfThere(path.join(this.#dir, "structure"));
    const text = hash === undefined ? undefined : this.object(hash);
    return hash === undefined || text === undefined ? undefined : { hash, text };
  }

  /** Its objects must be saved first, so that a manifest on disk always has them. `structure` is the one in use. */
  saveManifest(text: string, structure: string): void {
    if (readIfThere(path.join(this.#dir, "structure")) !== structure)
      writeAtomically(path.join(this.#dir, "structure"), structure, { durable: true });
    writeAtomically(path.join(this.#dir, "manifest.json"), text, { durable: true });
  }

  /** Removes objects that are not in `named`, to make room for new ones. Keeps the structure that served last. */
  keepOnly(named: Set<string>): void {
    const structure = readIfThere(path.join(this.#dir, "structure"));
    for (const name of readdirSync(path.join(this.#dir, "objects")))
      if ((!named.has(name) && name !== structure) || name.endsWith(unfinished))
        rmSync(path.join(this.#dir, "objects", name));
  }
}
