/** Verifies manifests: an edge uses a fetched manifest only after these checks. */
import { openManifest, type PublicKeys } from "../../../schemas/signed.ts";
import type { Manifest } from "../../../schemas/snapshot.ts";

/** A manifest that can never be applied. The edge reports the reason. */
export class RefusedError extends Error {
  override readonly name = "RefusedError";
  readonly generation: number;
  constructor(reason: string, generation = 0) {
    super(reason);
    this.generation = generation;
  }
}

export interface Known {
  cell: string;
  keys: PublicKeys;
  /** The applied generation: an edge never goes back to an older one. */
  generation: number;
  incarnation: string | undefined;
}

/** @throws RefusedError unless signed by a known key, for this cell, and not older than what is applied */
export function verifyManifest(text: string, known: Known): Manifest {
  const opened = openManifest(text, known.keys);
  if (!opened.ok) throw new RefusedError(opened.reason);
  const { manifest } = opened;
  const { cell, generation, incarnation } = manifest;
  if (cell !== known.cell) throw new RefusedError(`the manifest is for cell ${cell}, not ${known.cell}`, generation);
  if (generation < known.generation)
    throw new RefusedError(`generation ${generation} is older than ${known.generation}`, generation);
  if (known.incarnation !== undefined && incarnation !== known.incarnation)
    throw new RefusedError("the manifest comes from another incarnation of the ledger", generation);
  return manifest;
}
