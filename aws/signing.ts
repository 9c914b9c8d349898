/** Signs manifests with the Ed25519 key in KMS, which never leaves it. */
import { GetPublicKeyCommand, KMSClient, SignCommand } from "@aws-sdk/client-kms";
import { type PublicKeys, parseKeys, sha256 } from "../schemas/signed.ts";
import { type SignedManifest, signedMessage } from "../schemas/snapshot.ts";
import { environment } from "./settings.ts";

const client = new KMSClient({});

export const signingKeyId = environment.LANDFALL_SIGNING_KEY;

export async function signManifest(manifest: string): Promise<SignedManifest> {
  const { Signature } = await client.send(
    new SignCommand({
      KeyId: signingKeyId,
      SigningAlgorithm: "ED25519_SHA_512",
      MessageType: "RAW",
      Message: Buffer.from(signedMessage(sha256(manifest))),
    }),
  );
  return { manifest, signatures: { [signingKeyId]: Buffer.from(Signature!).toString("base64") } };
}

let keys: Promise<PublicKeys> | undefined;

/** The public key, requested once: a bucket's manifest is verified like any other input from outside. */
export function publicKeys(): Promise<PublicKeys> {
  keys ??= client
    .send(new GetPublicKeyCommand({ KeyId: signingKeyId }))
    .then(({ PublicKey }) => parseKeys({ [signingKeyId]: PublicKey! }));
  keys.catch(() => {
    keys = undefined;
  });
  return keys;
}
