/** Batches that DynamoDB processes in part, over real responses. */
import http from "node:http";
import type net from "node:net";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { isTransient } from "../../aws/transient.ts";
import { functionEnvironment } from "../fixtures/environment.ts";

type Batch = { RequestItems: { table: unknown[] } };
/** What of a request's items is left. */
let left: (requests: unknown[]) => unknown[];
let asked: unknown[][] = [];
const server = http.createServer(async (request, response) => {
  const body: Buffer[] = [];
  for await (const chunk of request) body.push(chunk);
  const { table } = (JSON.parse(Buffer.concat(body).toString()) as Batch).RequestItems;
  asked.push(table);
  const rest = left(table);
  const UnprocessedItems = rest.length === 0 ? {} : { table: rest };
  response.writeHead(200, { "content-type": "application/x-amz-json-1.0" }).end(JSON.stringify({ UnprocessedItems }));
});

let documents: typeof import("../../aws/documents.ts");
beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  Object.assign(process.env, functionEnvironment(`http://127.0.0.1:${(server.address() as net.AddressInfo).port}`));
  documents = await import("../../aws/documents.ts");
});
afterAll(() => {
  documents.documents.destroy();
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  asked = [];
});

const items = Array.from({ length: 60 }, (_, index) => ({ pk: `item-${index}` }));
const puts = (some: unknown[]) => some.map((request) => JSON.stringify(request));

describe("batchPut", () => {
  it("puts every item, 25 per call, and again what was not processed", async () => {
    left = (requests) => requests.slice(Math.ceil(requests.length / 2));
    await documents.batchPut("table", items);
    expect(Math.max(...asked.map((some) => some.length))).toBe(25);
    const processed = asked.flatMap((some) => puts(some.slice(0, Math.ceil(some.length / 2))));
    expect(processed.toSorted()).toEqual(
      puts(items.map(({ pk }) => ({ PutRequest: { Item: { pk: { S: pk } } } }))).toSorted(),
    );
  });

  it("fails as a throttled call does when none was processed", async () => {
    left = (requests) => requests;
    const error = await documents.batchPut("table", items).catch((failure: unknown) => failure);
    expect(isTransient(error)).toBe(true);
    expect(asked).toHaveLength(1);
  });

  it("calls nothing for no items", async () => {
    await documents.batchPut("table", []);
    expect(asked).toEqual([]);
  });
});
