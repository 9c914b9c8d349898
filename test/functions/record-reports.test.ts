/** What a report writes about an edge, against an endpoint that plays DynamoDB and EventBridge. */
import http from "node:http";
import type net from "node:net";
import { unmarshall } from "@aws-sdk/util-dynamodb";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { EdgeSummary } from "../../core/edges/edge.ts";
import { unheardEdge } from "../../core/edges/forget.ts";
import { EdgeReport } from "../../schemas/report.ts";
import { functionEnvironment } from "../fixtures/environment.ts";

type Values = Record<string, never>;
/** The summaries that were written. */
const summaries: EdgeSummary[] = [];
const live = 9;

const answers: Record<string, (input: { ExpressionAttributeValues?: Values }) => object> = {
  GetItem: () => ({ Item: { commit: { M: { generation: { N: String(live) } } } } }),
  BatchGetItem: () => ({ Responses: {} }),
  PutItem: () => ({}),
  PutEvents: () => ({ FailedEntryCount: 0, Entries: [{}] }),
  UpdateItem: ({ ExpressionAttributeValues: values }) => {
    const written = Object.values(unmarshall(values!)) as { summary?: EdgeSummary }[];
    summaries.push(...written.flatMap(({ summary }) => summary ?? []));
    return { Attributes: {} };
  },
};
const server = http.createServer((request, response) => {
  let body = "";
  request.on("data", (chunk) => {
    body += chunk;
  });
  request.on("end", () => {
    const operation = String(request.headers["x-amz-target"]).split(".").at(-1)!;
    response.writeHead(200, { "content-type": "application/x-amz-json-1.0" });
    response.end(JSON.stringify(answers[operation]!(JSON.parse(body))));
  });
});

beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  Object.assign(process.env, functionEnvironment(`http://127.0.0.1:${(server.address() as net.AddressInfo).port}`));
});
beforeEach(() => {
  summaries.length = 0;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

const identity = { edgeId: "i-1", cell: "c1", region: "us-west-2", address: "10.0.0.1" };
async function record(appliedGeneration: number, known?: EdgeSummary): Promise<EdgeSummary | undefined> {
  const { recordIn } = await import("../../control/edges/record.ts");
  const told = { region: "us-west-2", appliedGeneration, serving: true, rejectedRoutes: [], at: 50, changedAt: 50 };
  const written = { writer: "AROA:i-1", report: EdgeReport.parse(told), reportedAt: 60 };
  await recordIn("c1", [{ written, identity, known: known && { summary: known, version: 3 } }], 70);
  return summaries.at(-1);
}

describe("the first report of an edge", () => {
  it.each([
    [0, live, "that serves nothing yet"],
    [7, live, "that serves an older generation"],
    [live, undefined, "that serves what is live"],
  ])("(generation %i) makes it wait for generation %s: one %s", async (generation, joinsFrom, _) => {
    expect((await record(generation))?.joinsFrom).toBe(joinsFrom);
  });

  it("makes it wait also when it was known only because the accelerator had it", async () => {
    const { address: _, ...rest } = identity;
    const marked = unheardEdge(rest, { isTerminated: false, now: 5 });
    expect(await record(7, marked)).toMatchObject({ joinsFrom: live, address: "10.0.0.1" });
  });
});

describe("a later report", () => {
  it("says nothing new about what it waits for", async () => {
    const known = { ...(await record(live))!, appliedGeneration: 3 };
    expect((await record(7, known))?.joinsFrom).toBeUndefined();
  });
});
