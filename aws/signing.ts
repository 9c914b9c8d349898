/** Signs manifests with the Ed25519 key in KMS, which never leaves it. */
import { KMSClient, SignCommand } from "@aws-sdk/client-kms";
import { type SignedManifest, signedMessage } from "../schemas/snapshot.ts";
import { sha256 } from "./hash.ts";
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
