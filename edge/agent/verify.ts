/** Nothing that an edge fetched is used before it passed here. */
import { createHash, createPublicKey, type KeyObject, verify } from "node:crypto";
import { Manifest, SignedManifest, signedMessage } from "../../schemas/snapshot.ts";

export type PublicKeys = Map<string, KeyObject>;

export const parseKeys = (keys: Record<string, string>): PublicKeys =>
  new Map(
    Object.entries(keys).map(([id, spki]) => [
      id,
      createPublicKey({ key: Buffer.from(spki, "base64"), format: "der", type: "spki" }),
    ]),
  );

export const sha256 = (bytes: string | Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** A manifest is refused: the reason is what the edge reports. */
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
  /** What is applied: an edge never goes back. */
  generation: number;
  incarnation: string | undefined;
}

/** @throws RefusedError unless signed by a known key, for this cell, and not older than what is applied */
export function verifyManifest(text: string, known: Known): Manifest {
  const signed = parse(text, SignedManifest, "the manifest's envelope");
  const message = Buffer.from(signedMessage(sha256(signed.manifest)));
  const good = Object.entries(signed.signatures).some(([id, signature]) => {
    const key = known.keys.get(id);
    return key !== undefined && verify(null, message, key, Buffer.from(signature, "base64"));
  });
  if (!good) throw new RefusedError("no valid signature by a known key");
  const manifest = parse(signed.manifest, Manifest, "the manifest");
  if (manifest.cell !== known.cell)
    throw new RefusedError(`it is for cell ${manifest.cell}, not ${known.cell}`, manifest.generation);
  if (manifest.generation < known.generation)
    throw new RefusedError(`generation ${manifest.generation} is older than ${known.generation}`, manifest.generation);
  if (known.incarnation !== undefined && manifest.incarnation !== known.incarnation)
    throw new RefusedError("it comes from another incarnation of the ledger", manifest.generation);
  return manifest;
}

function parse<T>(text: string, schema: { parse: (value: unknown) => T }, what: string): T {
  try {
    return schema.parse(JSON.parse(text));
  } catch (error) {
    throw new RefusedError(`${what} is malformed: ${String(error).slice(0, 200)}`);
  }
}
