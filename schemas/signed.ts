/** Opening a signed manifest: the same for edges, which serve it, and for the publisher, which must not trust a bucket either. */
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
 * The manifest inside, when every key that is known here and named in it signed its exact bytes, at least one of them, and it
 * is well formed. A key that is not known here, as while one is rotated, says nothing.
 */
export function openManifest(text: string, keys: PublicKeys): Opened {
  const envelope = parse(text, SignedManifest);
  if (envelope === undefined) return { ok: false, reason: "the manifest's envelope is malformed" };
  const message = Buffer.from(signedMessage(sha256(envelope.manifest)));
  const known = Object.entries(envelope.signatures).filter(([id]) => keys.has(id));
  const good = known.every(([id, signature]) => {
    const bytes = Buffer.from(signature, "base64");
    // Base64 has bits that decoding drops: of what was signed there is one form only.
    return bytes.toString("base64") === signature && verify(null, message, keys.get(id)!, bytes);
  });
  if (known.length === 0 || !good) return { ok: false, reason: "no valid signature by a known key" };
  const manifest = parse(envelope.manifest, Manifest);
  if (manifest === undefined) return { ok: false, reason: "the manifest is malformed" };
  const signers = Object.keys(envelope.signatures).sort().join();
  return signers === manifest.keyIds.toSorted().join()
    ? { ok: true, manifest }
    : { ok: false, reason: "it is signed by others than it names" };
}

function parse<T>(
  text: string,
  schema: { safeParse: (value: unknown) => { success: boolean; data?: T } },
): T | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined; // said by the caller
  }
  const parsed = schema.safeParse(value);
  return parsed.success ? parsed.data : undefined;
}
