import {
  CopyObjectCommand,
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  ListObjectVersionsCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Faults } from "../../local/faults.ts";
import { S3 } from "../../local/services/s3/s3.ts";
import { errorName, startGateway } from "./harness.ts";

const faults = new Faults();
let gateway: Awaited<ReturnType<typeof startGateway>>;
let client: S3Client;
const Bucket = "a-bucket";
const put = (Key: string, Body: string, more: object = {}) =>
  client.send(new PutObjectCommand({ Bucket, Key, Body, ...more }));
const get = async (Key: string, more: object = {}) =>
  (await client.send(new GetObjectCommand({ Bucket, Key, ...more }))).Body?.transformToString();
const statusOf = async (call: Promise<unknown>) => {
  try {
    await call;
    return 200;
  } catch (error) {
    return (error as { $metadata: { httpStatusCode: number } }).$metadata.httpStatusCode;
  }
};

beforeAll(async () => {
  gateway = await startGateway([new S3({ faults }).service()]);
  client = new S3Client(gateway.client());
  await client.send(new CreateBucketCommand({ Bucket }));
});
afterAll(async () => {
  client.destroy();
  await gateway.close();
});

describe("S3", () => {
  it("returns the stored object, whatever the key", async () => {
    for (const Key of [
      "plain",
      "a/b/c",
      "with space",
      "plus+and%20",
      "ünïcode/☃",
      "a//b",
      "question?mark",
      "a/../b",
      "./x",
    ]) {
      await put(Key, Key, { Metadata: { who: "me" }, ContentType: "text/plain" });
      expect(await get(Key)).toBe(Key);
      expect(await client.send(new HeadObjectCommand({ Bucket, Key }))).toMatchObject({
        ContentType: "text/plain",
        Metadata: { who: "me" },
        ContentLength: Buffer.byteLength(Key),
      });
    }
  });

  // The values are of "123456789", the check value of each algorithm's published definition.
  it.each([
    ["CRC64NVME", "rosUhgp5mIg="],
    ["CRC32", "y/Q5Jg=="],
    ["CRC32C", "4waSgw=="],
    ["SHA256", "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="],
  ])("verifies %s, keeps it and returns it (user guide, Checking object integrity)", async (algorithm, right) => {
    const member = `Checksum${algorithm}`;
    await put("sums", "123456789", { [member]: right });
    const head = await client.send(new HeadObjectCommand({ Bucket, Key: "sums", ChecksumMode: "ENABLED" }));
    expect((head as unknown as Record<string, unknown>)[member]).toBe(right);
    expect(await errorName(put("sums", "12345678X", { [member]: right }))).toBe("BadDigest");
    expect(await errorName(put("sums", "123456789", { [member]: "bm90" }))).toBe("InvalidRequest");
    expect(await get("sums")).toBe("123456789");
  });

  it("has CRC64NVME of an object that came without a checksum (user guide, Checking object integrity)", async () => {
    const plain = new S3Client({ ...gateway.client(), requestChecksumCalculation: "WHEN_REQUIRED" });
    await plain.send(new PutObjectCommand({ Bucket, Key: "bare", Body: "123456789" }));
    plain.destroy();
    const head = await client.send(new HeadObjectCommand({ Bucket, Key: "bare", ChecksumMode: "ENABLED" }));
    expect(head.ChecksumCRC64NVME).toBe("rosUhgp5mIg=");
  });

  it("answers SlowDown and conflicts of conditional writes at the rates that were set (API reference, Error responses, PutObject)", async () => {
    faults.rates.s3SlowDown = 1;
    const refused = await get("bare").catch((error: Error & { $metadata: { httpStatusCode?: number } }) => error);
    expect(refused).toMatchObject({ name: "SlowDown", $metadata: { httpStatusCode: 503 } });
    faults.rates.s3SlowDown = 0;
    faults.rates.s3Conflict = 1;
    expect(await errorName(put("new", "x", { IfNoneMatch: "*" }))).toBe("ConditionalRequestConflict");
    expect(await errorName(put("new", "x"))).toBe("none");
    faults.rates.s3Conflict = 0;
  });

  it("enforces If-None-Match and If-Match on writes", async () => {
    const first = await put("conditional", "1", { IfNoneMatch: "*" });
    expect(await errorName(put("conditional", "2", { IfNoneMatch: "*" }))).toBe("PreconditionFailed");
    const second = await put("conditional", "2", { IfMatch: first.ETag });
    expect(await errorName(put("conditional", "3", { IfMatch: first.ETag }))).toBe("PreconditionFailed");
    await put("conditional", "3", { IfMatch: second.ETag });
    expect(await get("conditional")).toBe("3");
    expect(await statusOf(put("not there", "x", { IfMatch: first.ETag }))).toBe(404);
  });

  it("answers 304 to a reader that has the current version", async () => {
    const { ETag } = await put("cached", "x");
    expect(await statusOf(client.send(new GetObjectCommand({ Bucket, Key: "cached", IfNoneMatch: ETag })))).toBe(304);
    await put("cached", "y");
    expect(await get("cached", { IfNoneMatch: ETag })).toBe("y");
  });

  it("keeps versions, and hides deleted objects", async () => {
    await client.send(new CreateBucketCommand({ Bucket: "versioned" }));
    await client.send(
      new PutBucketVersioningCommand({ Bucket: "versioned", VersioningConfiguration: { Status: "Enabled" } }),
    );
    const at = { Bucket: "versioned", Key: "k" };
    const first = await client.send(new PutObjectCommand({ ...at, Body: "1" }));
    await client.send(new PutObjectCommand({ ...at, Body: "2" }));
    await client.send(new DeleteObjectCommand(at));
    expect(await errorName(client.send(new GetObjectCommand(at)))).toBe("NoSuchKey");
    const old = await client.send(new GetObjectCommand({ ...at, VersionId: first.VersionId }));
    expect(await old.Body?.transformToString()).toBe("1");
    const all = await client.send(new ListObjectVersionsCommand({ Bucket: "versioned" }));
    expect([all.Versions?.length, all.DeleteMarkers?.length]).toEqual([2, 1]);
  });

  it("lists by prefix and folder, page by page", async () => {
    for (const key of ["l/1", "l/2", "l/sub/3", "l/sub/4"]) await put(key, key);
    const folders = await client.send(new ListObjectsV2Command({ Bucket, Prefix: "l/", Delimiter: "/" }));
    expect([folders.Contents?.map(({ Key }) => Key), folders.CommonPrefixes?.map(({ Prefix }) => Prefix)]).toEqual([
      ["l/1", "l/2"],
      ["l/sub/"],
    ]);
    const page = await client.send(new ListObjectsV2Command({ Bucket, Prefix: "l/", MaxKeys: 3 }));
    expect([page.KeyCount, page.IsTruncated]).toEqual([3, true]);
    const rest = await client.send(
      new ListObjectsV2Command({ Bucket, Prefix: "l/", ContinuationToken: page.NextContinuationToken }),
    );
    expect(rest.Contents?.map(({ Key }) => Key)).toEqual(["l/sub/4"]);
  });

  it("returns byte ranges, and the whole object for a malformed range", async () => {
    await put("digits", "0123456789");
    expect([
      await get("digits", { Range: "bytes=2-4" }),
      await get("digits", { Range: "bytes=-3" }),
      await get("digits", { Range: "bytes=5-2" }),
    ]).toEqual(["234", "789", "0123456789"]);
    expect((await client.send(new GetObjectCommand({ Bucket, Key: "digits", Range: "bytes=2-4" }))).ContentRange).toBe(
      "bytes 2-4/10",
    );
    expect(await statusOf(client.send(new GetObjectCommand({ Bucket, Key: "digits", Range: "bytes=10-" })))).toBe(416);
  });

  it("refuses options that it would otherwise silently ignore", async () => {
    expect(await errorName(put("tagged", "x", { Tagging: "a=b" }))).toBe("NotImplemented");
    expect(await errorName(put("wrong", "x", { ChecksumSHA256: Buffer.alloc(32).toString("base64") }))).toBe(
      "BadDigest",
    );
    const { ETag } = await put("kept", "x");
    expect(await errorName(client.send(new DeleteObjectCommand({ Bucket, Key: "kept", IfMatch: '"other"' })))).toBe(
      "PreconditionFailed",
    );
    expect(await get("kept", { IfMatch: ETag })).toBe("x");
  });

  it("keeps existing versions when versioning is suspended", async () => {
    const at = { Bucket: "suspended", Key: "k" };
    await client.send(new CreateBucketCommand({ Bucket: at.Bucket }));
    const set = (Status: "Enabled" | "Suspended") =>
      client.send(new PutBucketVersioningCommand({ Bucket: at.Bucket, VersioningConfiguration: { Status } }));
    await set("Enabled");
    await client.send(new PutObjectCommand({ ...at, Body: "1" }));
    await set("Suspended");
    for (const Body of ["2", "3"]) await client.send(new PutObjectCommand({ ...at, Body }));
    const { Versions } = await client.send(new ListObjectVersionsCommand({ Bucket: at.Bucket }));
    expect(Versions?.map(({ VersionId }) => VersionId === "null")).toEqual([true, false]);
  });

  it("answers only in the bucket's own region", async () => {
    const elsewhere = new S3Client(gateway.client("admin", "eu-west-3"));
    expect(await statusOf(elsewhere.send(new GetObjectCommand({ Bucket, Key: "plain" })))).toBe(301);
    elsewhere.destroy();
  });

  it("reports an unknown key, bucket or operation", async () => {
    expect(await errorName(client.send(new GetObjectCommand({ Bucket, Key: "nothing" })))).toBe("NoSuchKey");
    expect(await errorName(client.send(new GetObjectCommand({ Bucket: "nowhere", Key: "k" })))).toBe("NoSuchBucket");
    expect(
      await errorName(client.send(new CopyObjectCommand({ Bucket, Key: "copy", CopySource: `${Bucket}/plain` }))),
    ).toBe("NotImplemented");
  });
});
