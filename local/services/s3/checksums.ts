/** Checksums of an object's bytes: what S3 verifies, keeps and returns (S3 user guide, "Checking object integrity"). */
import { createHash } from "node:crypto";
import { Crc32, Crc32c, Crc64Nvme } from "@aws-sdk/checksums/crc";
import type { PutObjectCommandInput } from "@aws-sdk/client-s3";
import { AwsError } from "../../gateway/error.ts";

/** Algorithm as the headers name it → the member of AWS's shapes, and the length of its value in bytes. */
const algorithms = {
  CRC64NVME: { member: "ChecksumCRC64NVME", bytes: 8 },
  CRC32: { member: "ChecksumCRC32", bytes: 4 },
  CRC32C: { member: "ChecksumCRC32C", bytes: 4 },
  SHA1: { member: "ChecksumSHA1", bytes: 20 },
  SHA256: { member: "ChecksumSHA256", bytes: 32 },
} as const;
type Algorithm = keyof typeof algorithms;
type Member = (typeof algorithms)[Algorithm]["member"];

/** One checksum of an object, as members of AWS's answers. */
export type Checksum = Partial<Record<Member, string>> & { ChecksumType: "FULL_OBJECT" };

async function compute(algorithm: Algorithm, body: Uint8Array): Promise<string> {
  if (algorithm === "SHA1" || algorithm === "SHA256")
    return createHash(algorithm.toLowerCase()).update(body).digest("base64");
  const checksum = new { CRC64NVME: Crc64Nvme, CRC32: Crc32, CRC32C: Crc32c }[algorithm]();
  checksum.update(body);
  return Buffer.from(await checksum.digest()).toString("base64");
}

/** Whether the sender says what the bytes are. */
export const hasDigest = (input: PutObjectCommandInput) =>
  input.ContentMD5 !== undefined || Object.values(algorithms).some(({ member }) => input[member] !== undefined);

const isBase64Of = (text: string, bytes: number) => {
  const decoded = Buffer.from(text, "base64");
  return decoded.length === bytes && decoded.toString("base64") === text;
};

const invalid = (message: string) => new AwsError("InvalidRequest", message, 400);

/**
 * The checksum that is kept with the object: the one that the sender gave, or CRC64NVME, which S3 computes by itself.
 * @throws AwsError when the bytes are not what the sender says
 */
export async function verifiedChecksum(input: PutObjectCommandInput, body: Uint8Array): Promise<Checksum> {
  checkMd5(input.ContentMD5, body);
  const given = (Object.keys(algorithms) as Algorithm[]).filter(
    (algorithm) => input[algorithms[algorithm].member] !== undefined,
  );
  if (given.length > 1)
    throw invalid("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.");
  const [algorithm = "CRC64NVME"] = given;
  const { member, bytes } = algorithms[algorithm];
  const computed = await compute(algorithm, body);
  const said = input[member];
  if (said !== undefined && !isBase64Of(said, bytes))
    throw invalid(`Value for x-amz-checksum-${algorithm.toLowerCase()} header is invalid.`);
  if (said !== undefined && said !== computed)
    throw new AwsError("BadDigest", `The ${algorithm} you specified did not match the calculated checksum.`);
  return { [member]: computed, ChecksumType: "FULL_OBJECT" };
}

function checkMd5(said: string | undefined, body: Uint8Array): void {
  if (said === undefined) return;
  if (!isBase64Of(said, 16))
    throw new AwsError("InvalidDigest", "The Content-MD5 you specified was invalid.", 400, { "Content-MD5": said });
  const CalculatedDigest = createHash("md5").update(body).digest("base64");
  if (said !== CalculatedDigest)
    throw new AwsError("BadDigest", "The Content-MD5 you specified did not match what we received.", 400, {
      ExpectedDigest: Buffer.from(said, "base64").toString("hex"),
      CalculatedDigest,
    });
}
