/** awsJson 1.0 and 1.1: the operation is in a header, everything else in the body. */
import { JsonCodec2 } from "@smithy/core/protocols";
import { AwsError } from "../error.ts";
import { operationsOf } from "../schema.ts";
import type { Protocol } from "./protocol.ts";

const codec = new JsonCodec2({ timestampFormat: { useTrait: true, default: 7 }, jsonName: false });

export async function readJson(schema: unknown, body: Buffer): Promise<Record<string, unknown>> {
  try {
    JSON.parse(body.toString("utf8") || "{}");
  } catch {
    throw new AwsError("SerializationException", "the body is not JSON");
  }
  return codec.createDeserializer().read(schema as never, body.toString("utf8") || "{}") as never;
}

export function writeJson(schema: unknown, value: object): string | Uint8Array {
  const serializer = codec.createSerializer();
  serializer.write(schema as never, value);
  return serializer.flush() as string | Uint8Array;
}

/** The SDK and the CLI may send 1.0 or 1.1; both accept either. */
const contentType = "application/x-amz-json-1.1";

/** SDKs differ in the member that they read. An error without a text has neither. */
const textOf = ({ message }: AwsError) => (message === "" ? {} : { message, Message: message });

export const awsJson: Protocol = {
  match(request, service) {
    const name = request.headers["x-amz-target"]?.split(".").at(-1);
    const operation = operationsOf(service.sdk).get(name ?? "");
    return operation && { operation, labels: {} };
  },
  read: (request, operation) => readJson(operation.input, request.body),
  write: (output, operation, requestId) => ({
    status: 200,
    headers: { "content-type": contentType, "x-amzn-requestid": requestId },
    body: operation.output.isStructSchema() ? writeJson(operation.output, output) : "{}",
  }),
  fail: (error, requestId) => ({
    status: error.status,
    headers: { "content-type": contentType, "x-amzn-requestid": requestId, "x-amzn-errortype": error.name },
    body: JSON.stringify({ __type: error.name, ...textOf(error), ...error.members }),
  }),
};
