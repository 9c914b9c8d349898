import type http from "node:http";

/** A request as the protocols read it: everything in memory, names of headers in lower case. */
export interface WireRequest {
  method: string;
  /** Decoded only where a protocol decodes it. */
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

const bodyMost = 64 * 1024 * 1024;

export async function readRequest(request: http.IncomingMessage): Promise<WireRequest> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    size += (chunk as Buffer).length;
    if (size > bodyMost) throw new Error(`a request of more than ${bodyMost} bytes`);
    chunks.push(chunk as Buffer);
  }
  // Not through URL, which would resolve the `.` and `..` that a key may have.
  const [path = "/", query = ""] = (request.url ?? "/").split(/\?(.*)/s);
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(request.headers))
    if (value !== undefined) headers[name] = Array.isArray(value) ? value.join(",") : value;
  const body = Buffer.concat(chunks);
  const chunked = headers["content-encoding"]?.includes("aws-chunked") ?? false;
  return {
    method: request.method ?? "GET",
    path,
    query: new URLSearchParams(query),
    headers,
    body: chunked ? unchunk(body) : body,
  };
}

/** The payload inside `aws-chunked`: size in hex with extensions, CRLF, bytes, CRLF; then trailers. */
function unchunk(body: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < body.length; ) {
    const end = body.indexOf("\r\n", at);
    if (end < 0) break;
    const size = Number.parseInt(body.toString("latin1", at, end), 16);
    if (!(size > 0)) break;
    parts.push(body.subarray(end + 2, end + 2 + size));
    at = end + 2 + size + 2;
  }
  return Buffer.concat(parts);
}

/** What a caller signed with: access key, region and service, from the header or a presigned URL. */
export function credentialScope(
  request: WireRequest,
): { accessKey: string; region: string; service: string } | undefined {
  const header = /Credential=([^,\s]+)/.exec(request.headers.authorization ?? "")?.[1];
  const [accessKey, , region, service] = (header ?? request.query.get("X-Amz-Credential") ?? "").split("/");
  return accessKey && region && service ? { accessKey, region, service } : undefined;
}
