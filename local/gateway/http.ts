import type http from "node:http";

/** A request as the protocols read it: the body in memory, header names in lower case. */
export interface WireRequest {
  method: string;
  /** Still percent-encoded; a protocol decodes the parts that it needs. */
  path: string;
  query: URLSearchParams;
  headers: Record<string, string>;
  body: Buffer;
}

export interface WireResponse {
  status: number;
  headers: Record<string, string>;
  body: string | Uint8Array;
}

const bodyMax = 64 * 1024 * 1024;

export async function readRequest(request: http.IncomingMessage): Promise<WireRequest> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    size += (chunk as Buffer).length;
    if (size > bodyMax) throw new Error(`the request has more than ${bodyMax} bytes`);
    chunks.push(chunk as Buffer);
  }
  // Does not use URL: it would resolve `.` and `..`, which a key may contain.
  const [path = "/", query = ""] = (request.url ?? "/").split(/\?(.*)/s);
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(request.headers))
    if (value !== undefined) headers[name] = Array.isArray(value) ? value.join(",") : value;
  const body = Buffer.concat(chunks);
  const chunked = headers["content-encoding"]?.includes("aws-chunked") ?? false;
  const { payload, trailers } = chunked ? unchunk(body) : { payload: body, trailers: {} };
  return {
    method: request.method ?? "GET",
    path,
    query: new URLSearchParams(query),
    headers: { ...headers, ...trailers },
    body: payload,
  };
}

/** The payload inside `aws-chunked`: size in hex with extensions, CRLF, bytes, CRLF; then trailers as headers have them. */
function unchunk(body: Buffer): { payload: Buffer; trailers: Record<string, string> } {
  const parts: Buffer[] = [];
  let at = 0;
  while (at < body.length) {
    const end = body.indexOf("\r\n", at);
    if (end < 0) break;
    const size = Number.parseInt(body.toString("latin1", at, end), 16);
    at = end + 2;
    if (!(size > 0)) break;
    parts.push(body.subarray(at, at + size));
    at += size + 2;
  }
  const lines = body.toString("latin1", at).split("\r\n");
  const trailers = lines.flatMap((line) => {
    const [, name, value] = /^([^:\s]+):\s*(.*)$/.exec(line) ?? [];
    return name === undefined || !/^x-amz-checksum-/i.test(name) ? [] : [[name.toLowerCase(), value!] as const];
  });
  return { payload: Buffer.concat(parts), trailers: Object.fromEntries(trailers) };
}

/** The access key, region and service of a request's signature, from the header or a presigned URL. */
export function credentialScope(
  request: WireRequest,
): { accessKey: string; region: string; service: string } | undefined {
  const header = /Credential=([^,\s]+)/.exec(request.headers.authorization ?? "")?.[1];
  const [accessKey, , region, service] = (header ?? request.query.get("X-Amz-Credential") ?? "").split("/");
  return accessKey && region && service ? { accessKey, region, service } : undefined;
}
