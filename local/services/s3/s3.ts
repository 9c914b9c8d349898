/** A small and strict S3: it checks conditions, keeps versions, and serves a bucket in its own region only. */
import { createHash, randomUUID } from "node:crypto";
import * as sdk from "@aws-sdk/client-s3";
import { Faults } from "../../faults.ts";
import { AwsError } from "../../gateway/error.ts";
import { type Call, service } from "../../gateway/service.ts";
import { type Checksum, hasDigest, verifiedChecksum } from "./checksums.ts";

interface Version {
  id: string;
  body: Uint8Array;
  etag: string;
  at: Date;
  /** Content-Type and similar headers, returned as they were sent. */
  headers: ContentHeaders;
  metadata: Record<string, string> | undefined;
  /** Absent until it is asked for, where the sender gave none. */
  checksum: Checksum | undefined;
  /** Whether this is a delete marker. Its body is never returned. */
  deleted: boolean;
}

type ContentHeaders = Pick<
  sdk.PutObjectCommandInput,
  "ContentType" | "ContentEncoding" | "ContentDisposition" | "ContentLanguage" | "CacheControl"
>;

interface Bucket {
  name: string;
  region: string;
  created: Date;
  /** Undefined until versioning is first set. */
  versioning: "Enabled" | "Suspended" | undefined;
  /** Newest last. */
  keys: Map<string, Version[]>;
}

const keyBytesMax = 1024;
const unquote = (etag: string) => etag.trim().replace(/^W\//, "").replace(/^"|"$/g, "");
const names = (condition: string, etag: string) =>
  condition.split(",").some((one) => one.trim() === "*" || unquote(one) === unquote(etag));

export class S3 {
  readonly #buckets = new Map<string, Bucket>();
  readonly #faults: Faults;

  constructor({ faults = new Faults() }: { faults?: Faults } = {}) {
    this.#faults = faults;
  }

  createBucket(name: string, region: string, versioned: boolean): void {
    this.#buckets.set(name, {
      name,
      region,
      created: new Date(),
      versioning: versioned ? "Enabled" : undefined,
      keys: new Map(),
    });
  }

  /** A write from inside the cloud: failed batches of a stream, or the infrastructure's own objects. */
  put(bucket: string, key: string, body: string | Uint8Array, type = "application/json"): void {
    this.#write(this.#existing(bucket), key, Buffer.from(body), { ContentType: type }, undefined);
  }

  service() {
    return service<typeof sdk>({
      signingName: "s3",
      protocol: "restXml",
      sdk,
      actionOf: (operation) =>
        `s3:${({ HeadObject: "GetObject", ListObjectsV2: "ListBucket", HeadBucket: "ListBucket", ListObjectVersions: "ListBucketVersions" } as Record<string, string>)[operation] ?? operation}`,
      contextOf: (_, { Prefix }) => (Prefix === undefined ? {} : { "s3:prefix": String(Prefix) }),
      resourcesOf: (_, { Bucket, Key }) =>
        Bucket === undefined ? ["*"] : [`arn:aws:s3:::${Bucket}${Key === undefined ? "" : `/${Key}`}`],
      members: {
        PutObject:
          "Bucket Key Body ContentLength ContentMD5 ContentType ContentEncoding ContentDisposition ContentLanguage CacheControl Metadata IfMatch IfNoneMatch ChecksumAlgorithm ChecksumCRC32 ChecksumCRC32C ChecksumCRC64NVME ChecksumSHA1 ChecksumSHA256",
        GetObject: "Bucket Key VersionId Range IfMatch IfNoneMatch ChecksumMode",
        HeadObject: "Bucket Key VersionId Range IfMatch IfNoneMatch ChecksumMode",
        DeleteObject: "Bucket Key VersionId IfMatch",
        ListObjectsV2: "Bucket Prefix Delimiter MaxKeys StartAfter ContinuationToken EncodingType FetchOwner",
        ListObjectVersions: "Bucket Prefix EncodingType",
        CreateBucket: "Bucket CreateBucketConfiguration",
      },
      handlers: {
        CreateBucket: (input, call) => this.#create(input, call),
        DeleteBucket: ({ Bucket }, call) => {
          const bucket = this.#bucket(Bucket, call);
          if ([...bucket.keys.values()].some((versions) => versions.length > 0))
            throw new AwsError("BucketNotEmpty", "The bucket you tried to delete is not empty", 409);
          this.#buckets.delete(bucket.name);
        },
        GetBucketLocation: ({ Bucket }) => {
          const { region } = this.#existing(Bucket);
          return { LocationConstraint: region === "us-east-1" ? undefined : region };
        },
        HeadBucket: ({ Bucket }, call) => ({ BucketRegion: this.#bucket(Bucket, call).region }),
        ListBuckets: () => ({
          Buckets: [...this.#buckets.values()]
            .map((bucket) => ({ Name: bucket.name, CreationDate: bucket.created, BucketRegion: bucket.region }))
            .sort((a, b) => (a.Name < b.Name ? -1 : 1)),
        }),
        PutBucketVersioning: ({ Bucket, VersioningConfiguration }, call) => {
          this.#bucket(Bucket, call).versioning = VersioningConfiguration?.Status;
        },
        GetBucketVersioning: ({ Bucket }, call) => ({ Status: this.#bucket(Bucket, call).versioning }),
        GetObject: (input, call) => this.#get(input, call, true),
        HeadObject: (input, call) => this.#get(input, call, false),
        PutObject: (input, call) =>
          hasDigest(input) ? this.#putVerified(input, call) : this.#put(input, call, undefined),
        DeleteObject: (input, call) => this.#delete(input, call),
        ListObjectsV2: (input, call) => this.#list(input, call),
        ListObjectVersions: ({ Bucket, Prefix = "" }, call) => this.#listVersions(this.#bucket(Bucket, call), Prefix),
      },
    });
  }

  #create({ Bucket, CreateBucketConfiguration }: sdk.CreateBucketCommandInput, call: Call) {
    const region = CreateBucketConfiguration?.LocationConstraint ?? call.region;
    if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(Bucket ?? ""))
      throw new AwsError("InvalidBucketName", "The specified bucket is not valid.");
    if (this.#buckets.has(Bucket!))
      throw new AwsError(
        "BucketAlreadyOwnedByYou",
        "Your previous request to create the named bucket succeeded and you already own it.",
        409,
      );
    this.createBucket(Bucket!, region, false);
    return { Location: `/${Bucket}` };
  }

  #existing(name: string | undefined): Bucket {
    const bucket = this.#buckets.get(name ?? "");
    if (bucket === undefined)
      throw new AwsError("NoSuchBucket", "The specified bucket does not exist", 404, { BucketName: name });
    return bucket;
  }

  #bucket(name: string | undefined, call: Call): Bucket {
    if (this.#faults.happens("s3SlowDown")) throw new AwsError("SlowDown", "Please reduce your request rate.", 503);
    const bucket = this.#existing(name);
    if (bucket.region !== call.region) {
      const message = "The bucket you are attempting to access must be addressed using the specified endpoint.";
      const Endpoint = `${bucket.name}.s3.${bucket.region}.amazonaws.com`;
      const redirect = new AwsError("PermanentRedirect", message, 301, { Bucket: bucket.name, Endpoint });
      redirect.headers = { "x-amz-bucket-region": bucket.region };
      throw redirect;
    }
    return bucket;
  }

  #latest(bucket: Bucket, key: string): Version | undefined {
    const version = bucket.keys.get(key)?.at(-1);
    return version?.deleted ? undefined : version;
  }

  #get(input: sdk.GetObjectCommandInput, call: Call, withBody: boolean) {
    const bucket = this.#bucket(input.Bucket, call);
    const version = this.#wanted(bucket, input.Key!, input.VersionId, withBody);
    const { etag } = version;
    if (input.IfMatch !== undefined && !names(input.IfMatch, etag)) throw preconditionFailed("If-Match");
    if (input.IfNoneMatch !== undefined && names(input.IfNoneMatch, etag))
      throw new AwsError("NotModified", "Not Modified", 304);
    const range = rangeOf(input.Range, version.body.length);
    const body = range === undefined ? version.body : version.body.subarray(range[0], range[1] + 1);
    const answer = {
      ETag: etag,
      LastModified: version.at,
      ContentLength: body.length,
      ...version.headers,
      ContentType: version.headers.ContentType ?? "binary/octet-stream",
      Metadata: version.metadata ?? {},
      AcceptRanges: "bytes",
      ...(range === undefined ? {} : { ContentRange: `bytes ${range[0]}-${range[1]}/${version.body.length}` }),
      ...(bucket.versioning === undefined ? {} : { VersionId: version.id }),
      ...(withBody ? { Body: body } : {}),
    };
    const isAsked = input.ChecksumMode === "ENABLED" && range === undefined;
    return isAsked ? checksumOf(version).then((checksum) => ({ ...answer, ...checksum })) : answer;
  }

  #wanted(bucket: Bucket, key: string, id: string | undefined, named: boolean): Version {
    const version = id === undefined ? this.#latest(bucket, key) : bucket.keys.get(key)?.find((each) => each.id === id);
    if (version?.deleted)
      throw new AwsError("MethodNotAllowed", "The specified method is not allowed against this resource.", 405);
    if (version === undefined)
      throw new AwsError(named ? "NoSuchKey" : "NotFound", "The specified key does not exist.", 404, { Key: key });
    return version;
  }

  async #putVerified(input: sdk.PutObjectCommandInput, call: Call) {
    const body = Buffer.from((input.Body as Uint8Array | undefined) ?? []);
    return this.#put(input, call, await verifiedChecksum(input, body));
  }

  #put(input: sdk.PutObjectCommandInput, call: Call, checksum: Checksum | undefined) {
    const bucket = this.#bucket(input.Bucket, call);
    if (Buffer.byteLength(input.Key!) > keyBytesMax) throw new AwsError("KeyTooLongError", "Your key is too long");
    const body = Buffer.from((input.Body as Uint8Array | undefined) ?? []);
    const now = this.#latest(bucket, input.Key!);
    const { IfMatch, IfNoneMatch } = input;
    if (IfMatch === "*" || (IfNoneMatch !== undefined && IfNoneMatch !== "*")) throw conditionNotImplemented(IfMatch);
    if ((IfMatch ?? IfNoneMatch) !== undefined && this.#faults.happens("s3Conflict"))
      throw new AwsError(
        "ConditionalRequestConflict",
        "The conditional request cannot succeed due to a conflicting operation against this resource.",
        409,
        { Condition: IfMatch === undefined ? "If-None-Match" : "If-Match", Key: input.Key },
      );
    if (IfNoneMatch !== undefined) {
      if (now !== undefined) throw preconditionFailed("If-None-Match");
    }
    if (IfMatch !== undefined) {
      if (now === undefined)
        throw new AwsError("NoSuchKey", "The specified key does not exist.", 404, { Key: input.Key });
      if (!names(IfMatch, now.etag)) throw preconditionFailed("If-Match");
    }
    const { ContentType, ContentEncoding, ContentDisposition, ContentLanguage, CacheControl, Metadata } = input;
    const encodings = ContentEncoding?.split(",")
      .filter((coding) => coding.trim() !== "aws-chunked")
      .join(",");
    const headers = {
      ContentType,
      ContentEncoding: encodings || undefined,
      ContentDisposition,
      ContentLanguage,
      CacheControl,
    };
    const version = this.#write(bucket, input.Key!, body, headers, Metadata, checksum);
    return { ETag: version.etag, ...checksum, ...(bucket.versioning === undefined ? {} : { VersionId: version.id }) };
  }

  #write(
    bucket: Bucket,
    key: string,
    body: Uint8Array,
    headers: ContentHeaders,
    metadata: Version["metadata"],
    checksum?: Checksum,
  ): Version {
    const etag = `"${createHash("md5").update(body).digest("hex")}"`;
    return this.#append(bucket, key, { body, etag, at: new Date(), deleted: false, headers, metadata, checksum });
  }

  /** Adds a version. Without versioning, or while it is suspended, it replaces the version with id `null`. */
  #append(bucket: Bucket, key: string, made: Omit<Version, "id">): Version {
    const version = { ...made, id: bucket.versioning === "Enabled" ? randomUUID() : "null" };
    const kept = (bucket.keys.get(key) ?? []).filter(({ id }) => id !== version.id);
    bucket.keys.set(key, [...kept, version]);
    return version;
  }

  #delete({ Bucket, Key, VersionId, IfMatch }: sdk.DeleteObjectCommandInput, call: Call) {
    const bucket = this.#bucket(Bucket, call);
    const now = this.#latest(bucket, Key!);
    if (IfMatch !== undefined && now !== undefined && !names(IfMatch, now.etag)) throw preconditionFailed("If-Match");
    if (VersionId !== undefined) {
      const kept = (bucket.keys.get(Key!) ?? []).filter(({ id }) => id !== VersionId);
      if (kept.length > 0) bucket.keys.set(Key!, kept);
      else bucket.keys.delete(Key!);
      return { VersionId };
    }
    if (bucket.versioning === undefined) {
      bucket.keys.delete(Key!);
      return {};
    }
    const nothing = {
      body: Buffer.alloc(0),
      etag: "",
      at: new Date(),
      headers: {},
      metadata: undefined,
      checksum: undefined,
    };
    return { DeleteMarker: true, VersionId: this.#append(bucket, Key!, { ...nothing, deleted: true }).id };
  }

  #list(input: sdk.ListObjectsV2CommandInput, call: Call) {
    const bucket = this.#bucket(input.Bucket, call);
    const { Prefix = "", Delimiter, MaxKeys = 1000, StartAfter, ContinuationToken } = input;
    const after = ContinuationToken ?? StartAfter ?? "";
    const Contents: sdk._Object[] = [];
    const folders = new Set<string>();
    let last: string | undefined;
    let truncated = false;
    for (const key of [...bucket.keys.keys()].sort()) {
      const version = this.#latest(bucket, key);
      if (version === undefined || !key.startsWith(Prefix) || key <= after) continue;
      const cut = Delimiter ? key.indexOf(Delimiter, Prefix.length) : -1;
      const folder = cut < 0 ? undefined : key.slice(0, cut + Delimiter!.length);
      if (folder !== undefined && (folders.has(folder) || after.startsWith(folder))) continue; // already listed
      if (Contents.length + folders.size >= MaxKeys) {
        truncated = MaxKeys > 0;
        break;
      }
      last = folder ?? key;
      if (folder !== undefined) folders.add(folder);
      else
        Contents.push({
          Key: key,
          ETag: version.etag,
          Size: version.body.length,
          LastModified: version.at,
          StorageClass: "STANDARD",
        });
    }
    return {
      Name: bucket.name,
      Prefix,
      Delimiter,
      StartAfter,
      MaxKeys,
      KeyCount: Contents.length + folders.size,
      IsTruncated: truncated,
      Contents,
      CommonPrefixes: [...folders].map((folder) => ({ Prefix: folder })),
      ...(truncated ? { NextContinuationToken: last } : {}),
    };
  }

  #listVersions(bucket: Bucket, prefix: string) {
    const all = [...bucket.keys].filter(([key]) => key.startsWith(prefix)).sort(([a], [b]) => (a < b ? -1 : 1));
    const listed = all.flatMap(([Key, versions]) =>
      versions
        .map((v, i) => ({
          v,
          entry: { Key, VersionId: v.id, IsLatest: i === versions.length - 1, LastModified: v.at },
        }))
        .reverse(),
    );
    return {
      Name: bucket.name,
      Prefix: prefix,
      IsTruncated: false,
      Versions: listed
        .filter(({ v }) => !v.deleted)
        .map(({ v, entry }) => ({ ...entry, ETag: v.etag, Size: v.body.length })),
      DeleteMarkers: listed.filter(({ v }) => v.deleted).map(({ entry }) => entry),
    };
  }
}

async function checksumOf(version: Version): Promise<Checksum> {
  version.checksum ??= await verifiedChecksum({ Bucket: "", Key: "" }, version.body);
  return version.checksum;
}

const conditionNotImplemented = (ifMatch: string | undefined) => {
  const Header = ifMatch === undefined ? "If-None-Match" : "If-Match";
  return new AwsError("NotImplemented", "A header you provided implies functionality that is not implemented", 501, {
    Header,
    additionalMessage: `We don't accept the provided value of ${Header} header for this API`,
  });
};

const preconditionFailed = (Condition: string) =>
  new AwsError("PreconditionFailed", "At least one of the pre-conditions you specified did not hold", 412, {
    Condition,
  });

/** The first and last byte. Undefined means the whole object, as in S3 for an invalid range. */
function rangeOf(range: string | undefined, length: number): [number, number] | undefined {
  const [, first = "", last = ""] = /^bytes=(\d*)-(\d*)$/.exec(range ?? "") ?? [];
  if (first === "" && last === "") return undefined;
  if (first === "") return [Math.max(0, length - Number(last)), length - 1];
  if (Number(first) >= length) throw new AwsError("InvalidRange", "The requested range is not satisfiable", 416);
  if (last !== "" && Number(last) < Number(first)) return undefined;
  return [Number(first), last === "" ? length - 1 : Math.min(Number(last), length - 1)];
}
