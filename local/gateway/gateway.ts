/** The one endpoint. The access key identifies the caller; the credential's scope names the service and the region. */
import { randomUUID } from "node:crypto";
import http from "node:http";
import type { AddressInfo } from "node:net";
import type { Faults } from "../faults.ts";
import type { Caller, Iam } from "../iam/iam.ts";
import { AwsError } from "./error.ts";
import { credentialScope, readRequest, type WireRequest, type WireResponse } from "./http.ts";
import { awsJson } from "./protocols/json.ts";
import type { Protocol } from "./protocols/protocol.ts";
import { awsQuery, ec2Query } from "./protocols/query.ts";
import { restJson } from "./protocols/rest-json.ts";
import { restXml } from "./protocols/rest-xml.ts";
import { requiredMembers } from "./schema.ts";
import type { Call, Service } from "./service.ts";

const protocols: Record<Service["protocol"], Protocol> = { awsJson, restJson, restXml, awsQuery, ec2Query };

/** A service that answers raw requests itself, such as DynamoDB, which forwards them to its engine. */
export interface RawService {
  signingName: string;
  answer(request: WireRequest, call: Call): Promise<WireResponse>;
}

export interface GatewayOptions {
  account: string;
  iam: Iam;
  services: (Service | RawService)[];
  /** Paths outside AWS, such as the cloud's own controls. */
  own: (request: WireRequest) => Promise<WireResponse | undefined>;
  /** Waits for the round trip between the caller and the region, if the latency profile models it. */
  travel: (caller: Caller, region: string) => Promise<void>;
  /** Which calls fail although nothing is wrong. */
  faults?: Faults;
  onFault: (error: unknown, what: string) => void;
}

export class Gateway {
  readonly #options: GatewayOptions;
  readonly #services: Map<string, Service | RawService>;
  readonly #server: http.Server;

  constructor(options: GatewayOptions) {
    this.#options = options;
    this.#services = new Map(options.services.map((service) => [service.signingName, service]));
    this.#server = http.createServer(
      { keepAliveTimeout: 60_000 },
      (request, response) => void this.#serve(request, response),
    );
  }

  async listen(port: number, host: string): Promise<number> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", (error: NodeJS.ErrnoException) =>
        reject(
          error.code === "EADDRINUSE"
            ? new Error(`port ${port} is in use: choose another with --port, or 0 for any`)
            : error,
        ),
      );
      this.#server.listen(port, host, resolve);
    });
    return (this.#server.address() as AddressInfo).port;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #serve(incoming: http.IncomingMessage, outgoing: http.ServerResponse): Promise<void> {
    try {
      const request = await readRequest(incoming);
      const answer = (await this.#options.own(request)) ?? (await this.#answer(request));
      outgoing.writeHead(answer.status, { ...answer.headers, "content-length": headLength(request, answer) });
      outgoing.end(request.method === "HEAD" ? undefined : answer.body);
    } catch (error) {
      this.#options.onFault(error, "gateway");
      if (!outgoing.headersSent) outgoing.writeHead(500);
      outgoing.end();
    }
  }

  async #answer(request: WireRequest): Promise<WireResponse> {
    const requestId = randomUUID();
    const scope = credentialScope(request);
    const service = this.#services.get(scope?.service ?? "");
    if (scope === undefined || service === undefined) {
      const message =
        scope === undefined ? "the request is not signed" : `the service ${scope.service} is not part of this cloud`;
      const error = new AwsError(scope === undefined ? "MissingAuthenticationToken" : "UnknownService", message, 403);
      return unknownProtocol(request).fail(error, requestId, request);
    }
    const { account, iam, travel } = this.#options;
    const protocol = "answer" in service ? awsJson : protocols[service.protocol];
    try {
      const caller = iam.callerOf(scope.accessKey);
      await travel(caller, scope.region);
      this.#throttleAtTimes(scope.service);
      const call: Call = { region: scope.region, account, caller, requestId };
      return "answer" in service
        ? await service.answer(request, call)
        : await this.#handle(request, service, protocol, call);
    } catch (error) {
      const known = this.#asAwsError(error, service.signingName);
      const failure = protocol.fail(known, requestId, request);
      return { ...failure, headers: { ...failure.headers, ...known.headers } };
    }
  }

  /** Services that throttle with one and the same error; DynamoDB, S3 and Lambda have errors of their own. */
  #throttleAtTimes(service: string): void {
    const throttles = ["ssm", "kms", "states", "events", "scheduler"].includes(service);
    if (throttles && this.#options.faults?.happens("throttled"))
      throw new AwsError("ThrottlingException", "Rate exceeded");
  }

  async #handle(request: WireRequest, service: Service, protocol: Protocol, call: Call): Promise<WireResponse> {
    const { onlyRegion, signingName } = service;
    if (onlyRegion !== undefined && call.region !== onlyRegion)
      throw new AwsError(
        "UnknownEndpoint",
        `Could not connect to the endpoint URL: "https://${signingName}.${call.region}.amazonaws.com/": it is in ${onlyRegion} only`,
        404,
      );
    const found = protocol.match(request, service);
    const handler = found && service.handlers[found.operation.name];
    if (found === undefined || handler === undefined) {
      const asked = found?.operation.name ?? request.headers["x-amz-target"] ?? `${request.method} ${request.path}`;
      const [name, status] =
        service.protocol === "restXml" ? ["NotImplemented", 501] : ["UnknownOperationException", 400];
      throw new AwsError(name as string, `${service.signingName} ${asked} is not part of this cloud`, status as number);
    }
    const { operation } = found;
    const input = (await protocol.read(request, operation, found.labels)) ?? {};
    const missing = requiredMembers(operation.input).filter((name) => input[name] === undefined);
    if (missing.length > 0)
      throw new AwsError("ValidationException", `${operation.name} requires ${missing.join(", ")}`);
    const ignored = ignoredMembers(service, operation.name, input);
    if (ignored.length > 0)
      throw new AwsError(
        service.protocol === "restXml" ? "NotImplemented" : "ValidationException",
        `${operation.name} with ${ignored.join(", ")} is not implemented here`,
        service.protocol === "restXml" ? 501 : 400,
      );
    const action = service.actionOf?.(operation.name) ?? `${service.signingName}:${operation.name}`;
    const resources = service.resourcesOf?.(operation.name, input, call) ?? ["*"];
    const context = { "aws:RequestedRegion": call.region, ...service.contextOf?.(operation.name, input) };
    this.#options.iam.check(call.caller, action, resources, context);
    const output = (await handler(input as never, call)) ?? {};
    return protocol.write(output as Record<string, unknown>, operation, call.requestId, service);
  }

  /** SDK exceptions and our own keep their names. Any other error is our bug: it is logged, and sent as a 500. */
  #asAwsError(error: unknown, service: string): AwsError {
    if (error instanceof AwsError) return error;
    const known = error as { name?: string; message?: string; $fault?: string; $metadata?: unknown };
    if (known.$fault !== undefined) {
      const { name: _n, message: _m, $fault, $metadata: _d, stack: _s, ...members } = error as Record<string, unknown>;
      return new AwsError(known.name ?? "InternalFailure", known.message ?? "", statusOf(known), members);
    }
    this.#options.onFault(error, service);
    return new AwsError("InternalFailure", `the embedded ${service} failed: ${String(error)}`, 500);
  }
}

/** The protocol in which the caller of an unknown service can read an error. */
function unknownProtocol({ headers, body }: WireRequest): Protocol {
  if (headers["x-amz-target"] !== undefined) return awsJson;
  return body.toString("latin1", 0, 200).includes("Action=") ? awsQuery : restXml;
}

/** The input's members that the handler would silently ignore. */
function ignoredMembers({ members }: Service, operation: string, input: Record<string, unknown>): string[] {
  const honoured = members?.[operation]?.split(" ");
  return honoured === undefined
    ? []
    : Object.keys(input).filter((name) => input[name] !== undefined && !honoured.includes(name));
}

/** The status of an SDK exception: its own where it was given, or by whose fault it is. */
const statusOf = ({ $fault, $metadata }: { $fault?: string; $metadata?: unknown }) =>
  ($metadata as { httpStatusCode?: number } | undefined)?.httpStatusCode ?? ($fault === "server" ? 500 : 400);

const headLength = (request: WireRequest, answer: WireResponse) =>
  request.method === "HEAD" ? Number(answer.headers["content-length"] ?? 0) : Buffer.byteLength(answer.body);
