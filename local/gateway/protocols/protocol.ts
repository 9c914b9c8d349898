import type { AwsError } from "../error.ts";
import type { WireRequest, WireResponse } from "../http.ts";
import type { Operation } from "../schema.ts";
import type { Service } from "../service.ts";

/** One wire protocol, from the server's side: the inverse of what the SDK's client does with the same schemas. */
export interface Protocol {
  /** The operation that a request names; undefined if the service does not have it. */
  match(request: WireRequest, service: Service): { operation: Operation; labels: Record<string, string> } | undefined;
  read(request: WireRequest, operation: Operation, labels: Record<string, string>): Promise<Record<string, unknown>>;
  write(output: Record<string, unknown>, operation: Operation, requestId: string, service: Service): WireResponse;
  fail(error: AwsError, requestId: string, request: WireRequest): WireResponse;
}
