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

/** The manifest inside, when a known key signed its exact bytes and it is well formed. */
export function openManifest(text: string, keys: PublicKeys): Opened {
  const envelope = parse(text, SignedManifest);
  if (envelope === undefined) return { ok: false, reason: "the manifest's envelope is malformed" };
  const message = Buffer.from(signedMessage(sha256(envelope.manifest)));
  const good = Object.entries(envelope.signatures).some(([id, signature]) => {
    const key = keys.get(id);
    return key !== undefined && verify(null, message, key, Buffer.from(signature, "base64"));
  });
  if (!good) return { ok: false, reason: "no valid signature by a known key" };
  const manifest = parse(envelope.manifest, Manifest);
  return manifest === undefined ? { ok: false, reason: "the manifest is malformed" } : { ok: true, manifest };
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
