/** restJson1: Lambda and Scheduler. */
import { readJson, writeJson } from "./json.ts";
import type { Protocol } from "./protocol.ts";
import { matchOperation, readBindings, writeBindings } from "./rest.ts";

export const restJson: Protocol = {
  match: (request, service) => matchOperation(request, request.path, service),
  async read(request, operation, labels) {
    const { input, payload } = readBindings(request, operation, labels);
    if (payload !== undefined) {
      if (request.body.length > 0)
        input[payload.name] = payload.schema.isStructSchema()
          ? await readJson(payload.schema, request.body)
          : request.body;
      return input;
    }
    return request.body.length === 0 ? input : { ...(await readJson(operation.input, request.body)), ...input };
  },
  write(output, operation, requestId) {
    const { status, headers, body, payload, bodyMembers } = writeBindings(output, operation);
    const json = () => (bodyMembers === 0 ? "" : writeJson(operation.output, body));
    const bytes = payload === undefined ? json() : (payload.value as Uint8Array);
    return {
      status,
      headers: { "content-type": "application/json", ...headers, "x-amzn-requestid": requestId },
      body: bytes,
    };
  },
  fail: (error, requestId) => ({
    status: error.status,
    headers: { "content-type": "application/json", "x-amzn-requestid": requestId, "x-amzn-errortype": error.name },
    body: JSON.stringify({ message: error.message, Message: error.message, ...error.members }),
  }),
};
