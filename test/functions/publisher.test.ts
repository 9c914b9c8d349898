/** A publisher's lease and its reads, against an endpoint that plays DynamoDB and S3. */
import http from "node:http";
import type net from "node:net";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import type { Settings } from "../../aws/settings.ts";
import { clientLimits, publishLimits } from "../../schemas/limits.ts";
import { sha256 } from "../../schemas/signed.ts";
import { functionEnvironment } from "../fixtures/environment.ts";
import { fleet } from "../fixtures/fleet.ts";

const { leaseMs } = publishLimits;
const extended: number[] = [];
let isLost = false;
/** The status that a bucket answers with; an object otherwise. */
const broken = new Map<string, number>();
let [reading, readingMost] = [0, 0];
const text = '{"routes":[]}';
const hash = sha256(text);

const server = http.createServer((request, response) => {
  let body = "";
  request.on("data", (chunk) => {
    body += chunk;
  });
  request.on("end", () => {
    if (request.method === "GET") return answerRead(request.url!, response);
    const { ExpressionAttributeValues: values } = JSON.parse(body) as {
      ExpressionAttributeValues: Record<string, { N: string }>;
    };
    extended.push(Number(values[":until"]!.N));
    response.writeHead(isLost ? 400 : 200, { "content-type": "application/x-amz-json-1.0" });
    response.end(JSON.stringify(isLost ? { __type: "ConditionalCheckFailedException" } : {}));
  });
});

function answerRead(url: string, response: http.ServerResponse): void {
  readingMost = Math.max(readingMost, ++reading);
  const status = [...broken].find(([bucket]) => url.includes(bucket))?.[1] ?? 200;
  setTimeout(() => {
    reading--;
    response.writeHead(status, { "content-type": status === 200 ? "application/json" : "application/xml" });
    response.end(status === 200 ? text : `<Error><Code>${status === 404 ? "NoSuchKey" : "SlowDown"}</Code></Error>`);
  }, 20);
}

beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  Object.assign(process.env, functionEnvironment(`http://127.0.0.1:${(server.address() as net.AddressInfo).port}`));
});
beforeEach(() => {
  extended.length = 0;
  broken.clear();
  isLost = false;
  vi.useFakeTimers({ toFake: ["Date"], now: 1_000_000 });
});
afterAll(() => {
  vi.useRealTimers();
  server.closeAllConnections();
  server.close();
});

async function publisher() {
  const made = await import("../../control/publishing/publisher.ts");
  const lease = { name: "publish#c1", holder: "me", epoch: 7 };
  return { ...made, me: made.newPublisher("c1", { fleet } as Settings, lease, Date.now()) };
}

describe("a publisher's lease", () => {
  it("is extended by a step once a third of it has passed, and by one of the steps side by side", async () => {
    const { keepLease, me } = await publisher();
    await keepLease(me);
    expect(extended).toEqual([]);
    vi.setSystemTime(1_000_000 + leaseMs / 3);
    await Promise.all([keepLease(me), keepLease(me), keepLease(me)]);
    expect(extended).toEqual([1_000_000 + leaseMs / 3 + leaseMs]);
    await keepLease(me);
    expect(extended).toHaveLength(1);
  });

  it("ends the work at once when another publisher has taken it", async () => {
    const { keepLease, me } = await publisher();
    isLost = true;
    vi.setSystemTime(1_000_000 + leaseMs);
    await expect(keepLease(me)).rejects.toThrow("lost the publisher's lease of c1");
  });
});

describe("an object that a commit names", () => {
  it("is read from the next region when one is down, a few at a time", async () => {
    vi.useRealTimers();
    broken.set("snapshots-us-west-2", 503);
    const { me } = await publisher();
    const { readFrom } = await import("../../control/publishing/trees.ts");
    expect(await me.read(hash)).toEqual({ routes: [] });
    broken.clear();
    const read = readFrom(me.buckets);
    readingMost = 0;
    await Promise.allSettled(Array.from({ length: 200 }, (_, index) => read(sha256(String(index)))));
    expect(readingMost).toBeGreaterThan(1);
    expect(readingMost).toBeLessThanOrEqual(clientLimits.parallelCallsMax);
  });

  it("is called missing only when every region says so: a region that can't be read may have it", async () => {
    vi.useRealTimers();
    const { me } = await publisher();
    const hash = sha256("another");
    broken.set("snapshots-us-west-2", 404).set("snapshots-eu-west-3", 503);
    await expect(me.read(hash)).rejects.toMatchObject({ name: "SlowDown" });
    broken.set("snapshots-eu-west-3", 404);
    await expect(me.read(hash)).rejects.toThrow(`object ${hash} is missing or damaged in all of`);
  });
});
