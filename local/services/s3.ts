/** S3, small and strict: conditions hold, versions are kept, and a bucket answers in its own region only. */
import { createHash, randomUUID } from "node:crypto";
import * as sdk from "@aws-sdk/client-s3";
import { AwsError, type Call, service } from "../gateway/service.ts";

interface Version {
  id: string;
  body: Uint8Array;
  etag: string;
  at: Date;
  type: string | undefined;
  cacheControl: string | undefined;
  metadata: Record<string, string> | undefined;
  /** A delete marker has no body that anybody gets. */
  deleted: boolean;
}

interface Bucket {
  name: string;
  region: string;
  created: Date;
  versioned: boolean;
  /** Newest last. */
  keys: Map<string, Version[]>;
}

const unquote = (etag: string) => etag.trim().replace(/^W\//, "").replace(/^"|"$/g, "");
const names = (condition: string, etag: string) =>
  condition.split(",").some((one) => one.trim() === "*" || unquote(one) === unquote(etag));

export class S3 {
  readonly #buckets = new Map<string, Bucket>();

  createBucket(name: string, region: string, versioned: boolean): void {
    this.#buckets.set(name, { name, region, created: new Date(), versioned, keys: new Map() });
  }

  /** A write from inside the cloud: the stream's failure destination, the infrastructure's own objects. */
  put(bucket: string, key: string, body: string | Uint8Array, type = "application/json"): void {
    this.#write(this.#existing(bucket), key, Buffer.from(body), { type, cacheControl: undefined, metadata: undefined });
  }

  service() {
    return service<typeof sdk>({
      signingName: "s3",
      protocol: "restXml",
      sdk,
      actionOf: (operation) =>
        `s3:${({ HeadObject: "GetObject", ListObjectsV2: "ListBucket", HeadBucket: "ListBucket", ListObjectVersions: "ListBucketVersions" } as Record<string, string>)[operation] ?? operation}`,
      resourcesOf: (_, { Bucket, Key }) =>
        Bucket === undefined ? ["*"] : [`arn:aws:s3:::${Bucket}${Key === undefined ? "" : `/${Key}`}`],
      handlers: {
        CreateBucket: (input, call) => this.#create(input, call),
        DeleteBucket: ({ Bucket }, call) => {
          const bucket = this.#bucket(Bucket, call);
          if ([...bucket.keys.values()].some((versions) => versions.length > 0))
            throw new AwsError("BucketNotEmpty", "The bucket you tried to delete is not empty", 409);
          this.#buckets.delete(bucket.name);
        },
        HeadBucket: ({ Bucket }, call) => ({ BucketRegion: this.#bucket(Bucket, call).region }),
        ListBuckets: () => ({
          Buckets: [...this.#buckets.values()]
            .map((bucket) => ({ Name: bucket.name, CreationDate: bucket.created, BucketRegion: bucket.region }))
            .sort((a, b) => (a.Name < b.Name ? -1 : 1)),
        }),
        PutBucketVersioning: ({ Bucket, VersioningConfiguration }, call) => {
          this.#bucket(Bucket, call).versioned = VersioningConfiguration?.Status === "Enabled";
        },
        GetBucketVersioning: ({ Bucket }, call) => (this.#bucket(Bucket, call).versioned ? { Status: "Enabled" } : {}),
        GetObject: (input, call) => this.#get(input, call, true),
        HeadObject: (input, call) => this.#get(input, call, false),
        PutObject: (input, call) => this.#put(input, call),
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
    const bucket = this.#existing(name);
    if (bucket.region !== call.region)
      throw new AwsError(
        "PermanentRedirect",
        "The bucket you are attempting to access must be addressed using the specified endpoint.",
        301,
        { Bucket: bucket.name, Endpoint: `${bucket.name}.s3.${bucket.region}.amazonaws.com` },
      );
    return bucket;
  }

  #latest(bucket: Bucket, key: string): Version | undefined {
    const version = bucket.keys.get(key)?.at(-1);
    return version?.deleted ? undefined : version;
  }

  #get(input: sdk.GetObjectCommandInput, call: Call, withBody: boolean) {
    const bucket = this.#bucket(input.Bucket, call);
    const version =
      input.VersionId === undefined
        ? this.#latest(bucket, input.Key!)
        : bucket.keys.get(input.Key!)?.find(({ id, deleted }) => id === input.VersionId && !deleted);
    if (version === undefined)
      throw new AwsError(withBody ? "NoSuchKey" : "NotFound", "The specified key does not exist.", 404, {
        Key: input.Key,
      });
    const { etag } = version;
    if (input.IfMatch !== undefined && !names(input.IfMatch, etag)) throw preconditionFailed("If-Match");
    if (input.IfNoneMatch !== undefined && names(input.IfNoneMatch, etag))
      throw new AwsError("NotModified", "Not Modified", 304);
    const [from, to] = rangeOf(input.Range, version.body.length);
    const body = version.body.subarray(from, to + 1);
    return {
      ETag: etag,
      LastModified: version.at,
      ContentLength: body.length,
      ContentType: version.type ?? "binary/octet-stream",
      CacheControl: version.cacheControl,
      Metadata: version.metadata ?? {},
      AcceptRanges: "bytes",
      ...(bucket.versioned ? { VersionId: version.id } : {}),
      ...(withBody ? { Body: body } : {}),
    };
  }

  #put(input: sdk.PutObjectCommandInput, call: Call) {
    const bucket = this.#bucket(input.Bucket, call);
    const body = Buffer.from((input.Body as Uint8Array | undefined) ?? []);
    if (input.ContentMD5 !== undefined && createHash("md5").update(body).digest("base64") !== input.ContentMD5)
      throw new AwsError("BadDigest", "The Content-MD5 you specified did not match what we received.");
    const now = this.#latest(bucket, input.Key!);
    if (input.IfNoneMatch !== undefined) {
      if (input.IfNoneMatch !== "*") throw new AwsError("NotImplemented", "If-None-Match of a write takes only *", 501);
      if (now !== undefined) throw preconditionFailed("If-None-Match");
    }
    if (input.IfMatch !== undefined) {
      if (now === undefined)
        throw new AwsError("NoSuchKey", "The specified key does not exist.", 404, { Key: input.Key });
      if (!names(input.IfMatch, now.etag)) throw preconditionFailed("If-Match");
    }
    const { ContentType, CacheControl, Metadata } = input;
    const version = this.#write(bucket, input.Key!, body, {
      type: ContentType,
      cacheControl: CacheControl,
      metadata: Metadata,
    });
    return { ETag: version.etag, ...(bucket.versioned ? { VersionId: version.id } : {}) };
  }

  #write(
    bucket: Bucket,
    key: string,
    body: Uint8Array,
    facts: Pick<Version, "type" | "cacheControl" | "metadata">,
  ): Version {
    const etag = `"${createHash("md5").update(body).digest("hex")}"`;
    const version: Version = {
      id: bucket.versioned ? randomUUID() : "null",
      body,
      etag,
      at: new Date(),
      deleted: false,
      ...facts,
    };
    this.#append(bucket, key, version);
    return version;
  }

  #append(bucket: Bucket, key: string, version: Version): void {
    bucket.keys.set(key, bucket.versioned ? [...(bucket.keys.get(key) ?? []), version] : [version]);
  }

  #delete({ Bucket, Key, VersionId }: sdk.DeleteObjectCommandInput, call: Call) {
    const bucket = this.#bucket(Bucket, call);
    if (VersionId !== undefined) {
      bucket.keys.set(
        Key!,
        (bucket.keys.get(Key!) ?? []).filter(({ id }) => id !== VersionId),
      );
      return { VersionId };
    }
    if (!bucket.versioned) {
      bucket.keys.delete(Key!);
      return {};
    }
    const marker: Version = {
      id: randomUUID(),
      body: Buffer.alloc(0),
      etag: "",
      at: new Date(),
      type: undefined,
      cacheControl: undefined,
      metadata: undefined,
      deleted: true,
    };
    this.#append(bucket, Key!, marker);
    return { DeleteMarker: true, VersionId: marker.id };
  }

  #list(input: sdk.ListObjectsV2CommandInput, call: Call) {
    const bucket = this.#bucket(input.Bucket, call);
    const { Prefix = "", Delimiter, MaxKeys = 1000 } = input;
    const after = input.ContinuationToken ?? input.StartAfter ?? "";
    const Contents: sdk._Object[] = [];
    const prefixes = new Set<string>();
    let last: string | undefined;
    let truncated = false;
    for (const key of [...bucket.keys.keys()].sort()) {
      const version = this.#latest(bucket, key);
      if (version === undefined || !key.startsWith(Prefix) || key <= after) continue;
      if (Contents.length + prefixes.size >= MaxKeys) {
        truncated = true;
        break;
      }
      last = key;
      const cut = Delimiter ? key.indexOf(Delimiter, Prefix.length) : -1;
      if (cut >= 0) prefixes.add(key.slice(0, cut + Delimiter!.length));
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
      MaxKeys,
      KeyCount: Contents.length + prefixes.size,
      IsTruncated: truncated,
      Contents,
      CommonPrefixes: [...prefixes].map((prefix) => ({ Prefix: prefix })),
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

const preconditionFailed = (Condition: string) =>
  new AwsError("PreconditionFailed", "At least one of the pre-conditions you specified did not hold", 412, {
    Condition,
  });

function rangeOf(range: string | undefined, length: number): [number, number] {
  const found = /^bytes=(\d+)-(\d*)$/.exec(range ?? "");
  if (found === null) return [0, length - 1];
  const from = Number(found[1]);
  if (from >= length) throw new AwsError("InvalidRange", "The requested range is not satisfiable", 416);
  return [from, found[2] === "" ? length - 1 : Math.min(Number(found[2]), length - 1)];
}
