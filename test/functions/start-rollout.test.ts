/** The real handler against an endpoint that plays DynamoDB and Step Functions. */
import http from "node:http";
import type net from "node:net";
import type { Context } from "aws-lambda";
import { afterAll, beforeAll, expect, it } from "vitest";
import { rolloutLimits } from "../../schemas/limits.ts";
import { functionEnvironment } from "../fixtures/environment.ts";

const calls: { operation: string; body: string }[] = [];
/** Executions with this in their name can't be started. */
let refused = "nothing";
const server = http.createServer((request, response) => {
  let body = "";
  request.on("data", (chunk) => {
    body += chunk;
  });
  request.on("end", () => {
    const operation = String(request.headers["x-amz-target"]).split(".").at(-1)!;
    calls.push({ operation, body });
    const fails = operation === "StartExecution" && (JSON.parse(body) as { name: string }).name.includes(refused);
    response.writeHead(fails ? 400 : 200, { "content-type": "application/x-amz-json-1.0" });
    response.end(
      JSON.stringify(
        fails ? { __type: "ThrottlingException", message: "slow" } : { executionArn: "arn", startDate: 1 },
      ),
    );
  });
});

beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  Object.assign(process.env, functionEnvironment(`http://127.0.0.1:${(server.address() as net.AddressInfo).port}`));
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

it("leaves no turn behind whose rollout did not start, so that later writes do not wait for it", async () => {
  const { handler } = await import("../../functions/start-rollout.ts");
  let sequence = 0;
  const write = () =>
    handler(
      {
        Records: [
          {
            eventSourceARN: "arn:stream",
            dynamodb: { SequenceNumber: String(++sequence), Keys: { tenantId: { S: "busy" } } },
          },
        ],
      },
      {} as Context,
    );
  const made = (operation: string) => calls.filter((call) => call.operation === operation);
  for (let count = 0; count < rolloutLimits.paceBurst; count++) await write();
  expect(made("StartExecution")).toHaveLength(rolloutLimits.paceBurst);
  refused = "-turn-";
  await expect(write()).rejects.toThrow("slow");
  expect(made("DeleteItem").map(({ body }) => (JSON.parse(body) as { Key: object }).Key)).toEqual([
    { pk: { S: "TURN#TENANT#busy" }, sk: { S: "TURN" } },
  ]);
  refused = "nothing";
  await write();
  const { name, input } = JSON.parse(made("StartExecution").at(-1)!.body) as { name: string; input: string };
  expect(name).toMatch(/^batch-[0-9a-f]{32}-turn-0$/);
  expect(JSON.parse(input)).toMatchObject({ turn: true });
});
