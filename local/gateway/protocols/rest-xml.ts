/** restXml as S3 uses it, path-style: the bucket is the first part of the path, and the schemas' patterns omit it. */
import { AwsError } from "../error.ts";
import type { Protocol } from "./protocol.ts";
import { matchOperation, readBindings, unknownQuery, writeBindings } from "./rest.ts";
import { escapeXml, readXml, writeXml } from "./xml.ts";

const namespace = "http://s3.amazonaws.com/doc/2006-03-01/";
const head = '<?xml version="1.0" encoding="UTF-8"?>\n';

export const restXml: Protocol = {
  match(request, service) {
    const [, bucket = "", rest = ""] = /^\/([^/]*)(\/.*)?$/.exec(request.path) ?? [];
    const found = matchOperation(request, rest === "" ? "/" : rest, service);
    return found && { operation: found.operation, labels: { ...found.labels, Bucket: decodeURIComponent(bucket) } };
  },
  async read(request, operation, labels) {
    if (operation.name === "PutObject" && request.headers["x-amz-copy-source"] !== undefined)
      throw new AwsError("NotImplemented", "CopyObject is not implemented here: get the object and put it", 501);
    const unknown = unknownQuery(request, operation);
    if (unknown.length > 0)
      throw new AwsError("NotImplemented", `${operation.name} with ${unknown.join(", ")} is not implemented here`, 501);
    const { input, payload } = readBindings(request, operation, labels);
    if (labels.Bucket) input.Bucket = labels.Bucket;
    if (payload === undefined || request.body.length === 0) return input;
    input[payload.name] = payload.schema.isBlobSchema()
      ? request.body
      : await readXml(payload.schema, request.body, namespace);
    return input;
  },
  write(output, operation, requestId) {
    let { status, headers, body, payload, bodyMembers } = writeBindings(output, operation);
    if (headers["content-range"] !== undefined) status = 206;
    const ids = { "x-amz-request-id": requestId };
    if (payload !== undefined)
      return payload.schema.isBlobSchema()
        ? { status, headers: { ...headers, ...ids }, body: payload.value as Uint8Array }
        : xml(status, { ...headers, ...ids }, writeXml(payload.schema, payload.value as object, namespace));
    if (bodyMembers === 0 || status === 204) return { status, headers: { ...headers, ...ids }, body: "" };
    return xml(status, { ...headers, ...ids }, writeXml(operation.output, body, namespace));
  },
  fail(error, requestId, request) {
    if (request.method === "HEAD")
      return { status: error.status, headers: { "x-amz-request-id": requestId }, body: "" };
    if (error.status === 304) return { status: 304, headers: { "x-amz-request-id": requestId }, body: "" };
    const members = Object.entries(error.members).map(
      ([name, value]) => `<${name}>${escapeXml(String(value))}</${name}>`,
    );
    const text = `<Error><Code>${escapeXml(error.name)}</Code><Message>${escapeXml(error.message)}</Message>${members.join("")}<RequestId>${requestId}</RequestId></Error>`;
    return xml(error.status, { "x-amz-request-id": requestId }, text);
  },
};

const xml = (status: number, headers: Record<string, string>, text: string) => ({
  status,
  headers: { "content-type": "application/xml", ...headers },
  body: head + text,
});
