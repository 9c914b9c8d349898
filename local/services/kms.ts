/** KMS: asymmetric Ed25519 keys that sign and verify, and whose public keys can be read. */
import { generateKeyPairSync, type KeyObject, sign, verify } from "node:crypto";
import * as sdk from "@aws-sdk/client-kms";
import { AwsError } from "../gateway/error.ts";
import { service } from "../gateway/service.ts";

/** The maximum size of a raw message in KMS, bytes. The caller must hash a longer message. */
const rawMessageMax = 4096;
const algorithm = "ED25519_SHA_512";

export class Kms {
  readonly #keys = new Map<string, { privateKey: KeyObject; publicKey: KeyObject }>();

  createKey(arn: string): void {
    this.#keys.set(arn, generateKeyPairSync("ed25519"));
  }

  /** SPKI in base64. */
  publicKey(arn: string): string {
    return this.#key(arn).publicKey.export({ format: "der", type: "spki" }).toString("base64");
  }

  #key(id: string | undefined) {
    const found = [...this.#keys].find(([arn]) => arn === id || arn.endsWith(`:key/${id}`));
    if (found === undefined) throw new sdk.NotFoundException({ message: `Key '${id}' does not exist`, $metadata: {} });
    return { arn: found[0], ...found[1] };
  }

  service() {
    const message = (input: {
      Message?: Uint8Array | undefined;
      SigningAlgorithm?: string | undefined;
      MessageType?: string | undefined;
    }) => {
      if (input.SigningAlgorithm !== algorithm || (input.MessageType ?? "RAW") !== "RAW")
        throw new sdk.InvalidKeyUsageException({
          message: `only ${algorithm} over RAW messages is implemented here`,
          $metadata: {},
        });
      if ((input.Message?.length ?? 0) > rawMessageMax)
        throw new AwsError(
          "ValidationException",
          `1 validation error detected: Value at 'message' failed to satisfy constraint: Member must have length less than or equal to ${rawMessageMax}`,
        );
      return Buffer.from(input.Message ?? []);
    };
    return service<typeof sdk>({
      signingName: "kms",
      protocol: "awsJson",
      sdk,
      contextOf: (_, { SigningAlgorithm, MessageType }) => ({
        ...(SigningAlgorithm === undefined ? {} : { "kms:SigningAlgorithm": String(SigningAlgorithm) }),
        ...(MessageType === undefined ? {} : { "kms:MessageType": String(MessageType) }),
      }),
      resourcesOf: (_, { KeyId }) => (KeyId === undefined ? ["*"] : [this.#key(String(KeyId)).arn]),
      members: {
        Sign: "KeyId Message MessageType SigningAlgorithm",
        Verify: "KeyId Message MessageType Signature SigningAlgorithm",
      },
      handlers: {
        Sign: (input) => {
          const { arn, privateKey } = this.#key(input.KeyId);
          return { KeyId: arn, SigningAlgorithm: algorithm, Signature: sign(null, message(input), privateKey) };
        },
        Verify: (input) => {
          const { arn, publicKey } = this.#key(input.KeyId);
          if (!verify(null, message(input), publicKey, Buffer.from(input.Signature ?? [])))
            throw new sdk.KMSInvalidSignatureException({ message: "", $metadata: {} });
          return { KeyId: arn, SignatureValid: true, SigningAlgorithm: algorithm };
        },
        GetPublicKey: ({ KeyId }) => {
          const { arn, publicKey } = this.#key(KeyId);
          return {
            KeyId: arn,
            PublicKey: publicKey.export({ format: "der", type: "spki" }),
            KeySpec: "ECC_NIST_EDWARDS25519",
            KeyUsage: "SIGN_VERIFY",
            SigningAlgorithms: [algorithm],
          };
        },
      },
    });
  }
}
