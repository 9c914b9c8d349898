import { named } from "./names";

/** The Ed25519 key that signs manifests. It never leaves KMS; edges get its public half with their user data. */
export function signing() {
  const key = new aws.kms.Key(
    "SigningKey",
    {
      description: `${named("signing")}: signs edge manifests`,
      customerMasterKeySpec: "ECC_NIST_EDWARDS25519",
      keyUsage: "SIGN_VERIFY",
      deletionWindowInDays: 30,
    },
    { protect: $app.stage === "production" },
  );
  const publicKey = aws.kms.getPublicKeyOutput({ keyId: key.arn }).publicKey;
  return { key, publicKey };
}
