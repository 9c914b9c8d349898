/** The two AWS calls of an edge, signed without the SDK: its clients would cost the agent fifty megabytes. */
import { fromInstanceMetadata } from "@smithy/credential-provider-imds";
import { AwsClient } from "aws4fetch";
import { clock } from "../clock.ts";

const requestMs = 5000;
/** Credentials are renewed so long before their end, at the latest at this age, and at most so often. */
const renewMs = 5 * 60_000;
const oldMs = 30 * 60_000;
const renewEveryMs = 10_000;

interface Credentials {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string | undefined;
  expiration?: Date | undefined;
}

export class EdgeCloud {
  readonly #region: string;
  readonly #endpoint: string | undefined;
  readonly #provider: () => Promise<Credentials>;
  #credentials: Credentials | undefined;
  /** By a clock that only goes forward: the machine's may jump. */
  #renewedAt = 0;
  #renewAt = 0;

  constructor(
    region: string,
    endpoint = process.env.AWS_ENDPOINT_URL,
    provider: () => Promise<Credentials> = fromInstanceMetadata({ timeout: 2000, maxRetries: 2 }),
  ) {
    this.#region = region;
    this.#endpoint = endpoint;
    this.#provider = provider;
  }

  /** Returns `notModified` if the object still has `etag`, undefined if none exists. Reads at most `limit` bytes. */
  async getObject(bucket: string, key: string, limit: number, etag?: string) {
    const base = this.#endpoint ?? `https://s3.${this.#region}.amazonaws.com`;
    const answer = await this.#send("s3", `${base}/${bucket}/${key}`, {
      headers: etag === undefined ? {} : { "if-none-match": etag },
    });
    if (answer.status === 304) return "notModified" as const;
    if (answer.status === 404) return void (await answer.body?.cancel());
    const text = await readAtMost(answer, limit);
    if (!answer.ok) throw new Error(`S3 answered ${answer.status} for ${key}: ${text.slice(0, 200)}`);
    return { text, etag: answer.headers.get("etag") ?? undefined };
  }

  /** Writes an item, in DynamoDB's own JSON, to a table of this region. */
  async putItem(region: string, TableName: string, Item: object): Promise<void> {
    const base = this.#endpoint ?? `https://dynamodb.${region}.amazonaws.com`;
    const request = {
      method: "POST",
      headers: { "content-type": "application/x-amz-json-1.0", "x-amz-target": "DynamoDB_20120810.PutItem" },
      body: JSON.stringify({ TableName, Item }),
    };
    const answer = await this.#send("dynamodb", `${base}/`, request, region);
    const text = await answer.text();
    if (!answer.ok) throw new Error(`DynamoDB answered ${answer.status}: ${text.slice(0, 200)}`);
  }

  /** Signs first: a time-out that is passed to `new Request` is lost at the next garbage collection. */
  async #send(service: string, url: string, init: RequestInit, region = this.#region): Promise<Response> {
    const request = await (await this.#client(service, region)).sign(url, init);
    const answer = await fetch(request, { signal: AbortSignal.timeout(requestMs) });
    // They may have ended: the machine's clock, which said when they end, may be wrong.
    if ([400, 401, 403].includes(answer.status))
      this.#renewAt = Math.min(this.#renewAt, this.#renewedAt + renewEveryMs);
    return answer;
  }

  async #client(service: string, region: string): Promise<AwsClient> {
    const { accessKeyId, secretAccessKey, sessionToken } = await this.#currentCredentials();
    return new AwsClient({
      accessKeyId,
      secretAccessKey,
      ...(sessionToken === undefined ? {} : { sessionToken }),
      service,
      region,
    });
  }

  async #currentCredentials(): Promise<Credentials> {
    const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey } = process.env;
    if (accessKeyId !== undefined && secretAccessKey !== undefined) return { accessKeyId, secretAccessKey };
    if (this.#credentials !== undefined && clock() < this.#renewAt) return this.#credentials;
    try {
      const renewed = await this.#provider();
      const left = (renewed.expiration?.getTime() ?? Number.POSITIVE_INFINITY) - Date.now();
      this.#credentials = renewed;
      this.#renewedAt = clock();
      this.#renewAt = clock() + Math.max(renewEveryMs, Math.min(oldMs, left - renewMs));
    } catch (error) {
      if (this.#credentials === undefined) throw error;
      this.#renewAt = clock() + renewEveryMs; // AWS may still take the old ones
    }
    return this.#credentials;
  }
}

export class TooLargeError extends Error {
  override readonly name = "TooLargeError";
  constructor(limit: number) {
    super(`the object is larger than ${limit} bytes`);
  }
}

async function readAtMost(answer: Response, limit: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of answer.body ?? []) {
    size += chunk.byteLength;
    if (size > limit) throw new TooLargeError(limit);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}
