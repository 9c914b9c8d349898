/** Verifies and opens a signed manifest, for edges and for the publisher: neither of them may trust a bucket. */
import { createHash, createPublicKey, type KeyObject, verify } from "node:crypto";
import { Manifest, SignedManifest, signedMessage } from "./snapshot.ts";

export const sha256 = (bytes: string | Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** Ed25519 public keys by KMS key id. */
export type PublicKeys = Map<string, KeyObject>;

/** From SPKI in base64 or bytes. */
export const parseKeys = (keys: Record<string, string | Uint8Array>): PublicKeys =>
  new Map(
    Object.entries(keys).map(([id, spki]) => [
      id,
      createPublicKey({
        key: typeof spki === "string" ? Buffer.from(spki, "base64") : Buffer.from(spki),
        format: "der",
        type: "spki",
      }),
    ]),
  );

export type Opened = { ok: true; manifest: Manifest } | { ok: false; reason: string };

/**
 * Returns the manifest if it is well formed, at least one known key signed its exact bytes, and no signature by a known
 * key is wrong. Signatures by unknown keys are ignored, for example while a key is rotated.
 */
export function openManifest(text: string, keys: PublicKeys): Opened {
  const envelope = parse(text, SignedManifest);
  if (envelope === undefined) return { ok: false, reason: "the manifest's envelope is malformed" };
  const message = Buffer.from(signedMessage(sha256(envelope.manifest)));
  const known = Object.entries(envelope.signatures).filter(([id]) => keys.has(id));
  const good = known.every(([id, signature]) => {
    const bytes = Buffer.from(signature, "base64");
    // Decoding drops some bits of base64: only the canonical form of a signature is accepted.
    return bytes.toString("base64") === signature && verify(null, message, keys.get(id)!, bytes);
  });
  if (known.length === 0 || !good) return { ok: false, reason: "no valid signature by a known key" };
  const manifest = parse(envelope.manifest, Manifest);
  if (manifest === undefined) return { ok: false, reason: "the manifest is malformed" };
  const signers = Object.keys(envelope.signatures).sort().join();
  return signers === manifest.keyIds.toSorted().join()
    ? { ok: true, manifest }
    : { ok: false, reason: "it is signed by other keys than it names" };
}

function parse<T>(
  text: string,
  schema: { safeParse: (value: unknown) => { success: boolean; data?: T } },
): T | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined; // the caller reports it
  }
  const parsed = schema.safeParse(value);
  return parsed.success ? parsed.data : undefined;
}
