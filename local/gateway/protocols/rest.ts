/** The HTTP bindings that restJson and restXml share: labels, query, headers, prefix headers, payload. */
import { FromStringShapeDeserializer, ToStringShapeSerializer } from "@smithy/core/protocols";
import type { NormalizedSchema } from "@smithy/core/schema";
import type { WireRequest, WireResponse } from "../http.ts";
import { membersOf, type Operation, operationsOf } from "../schema.ts";
import type { Service } from "../service.ts";

interface Traits {
  httpLabel?: unknown;
  httpHeader?: string;
  httpQuery?: string;
  httpQueryParams?: unknown;
  httpPrefixHeaders?: string;
  httpPayload?: unknown;
  httpResponseCode?: unknown;
}
const traitsOf = (schema: NormalizedSchema) => schema.getMergedTraits() as Traits;

const settings = { httpBindings: true, timestampFormat: { useTrait: true, default: 5 as const } };

function fromText(schema: NormalizedSchema, text: string): unknown {
  return new FromStringShapeDeserializer(settings).read(schema as never, text);
}

function toText(schema: NormalizedSchema, value: unknown): string {
  const serializer = new ToStringShapeSerializer(settings);
  serializer.write(schema as never, value);
  return String(serializer.flush());
}

/** The operation whose pattern matches; of several, the one with the most literal query parameters. */
export function matchOperation(request: WireRequest, path: string, service: Service) {
  let best: { operation: Operation; labels: Record<string, string>; literals: number } | undefined;
  for (const operation of operationsOf(service.sdk).values()) {
    const { http } = operation;
    if (http?.method !== request.method) continue;
    const literals = http.literals.filter(([key]) => key !== "x-id");
    const named = request.query.get("x-id");
    if (named !== null && http.literals.some(([key, value]) => key === "x-id" && value !== named)) continue;
    if (!literals.every(([key, value]) => request.query.has(key) && (value === "" || request.query.get(key) === value)))
      continue;
    const labels = matchPath(http.path, path);
    if (
      labels !== undefined &&
      (best === undefined || literals.length > best.literals || !service.handlers[best.operation.name])
    )
      best = { operation, labels, literals: literals.length };
  }
  return best;
}

function matchPath(pattern: string, path: string): Record<string, string> | undefined {
  const names: string[] = [];
  const source = pattern.replace(/\{(\w+)(\+?)\}|[.*()[\]^$]/g, (special, name: string | undefined, greedy: string) => {
    if (name === undefined) return `\\${special}`;
    names.push(name);
    return greedy === "+" ? "(.+)" : "([^/]+)";
  });
  const found = new RegExp(`^${source}/?$`).exec(path);
  return found === null
    ? undefined
    : Object.fromEntries(names.map((name, i) => [name, decodeURIComponent(found[i + 1]!)]));
}

/** Query parameters that the operation does not know. If it ignored them, it would silently do something else. */
export function unknownQuery(request: WireRequest, operation: Operation): string[] {
  const known = new Set(operation.http?.literals.map(([key]) => key));
  for (const [, member] of membersOf(operation.input)) {
    const { httpQuery } = traitsOf(member);
    if (httpQuery !== undefined) known.add(httpQuery);
  }
  return [...request.query.keys()].filter(
    (key) => !known.has(key) && !key.toLowerCase().startsWith("x-amz-") && key !== "x-id",
  );
}

/** Reads the members that are not in the body, and finds the member that is the body, if there is one. */
export function readBindings(request: WireRequest, operation: Operation, labels: Record<string, string>) {
  const input: Record<string, unknown> = {};
  let payload: { name: string; schema: NormalizedSchema } | undefined;
  for (const [name, member] of membersOf(operation.input)) {
    const traits = traitsOf(member);
    const text =
      traits.httpLabel !== undefined
        ? labels[name]
        : traits.httpHeader !== undefined
          ? request.headers[traits.httpHeader.toLowerCase()]
          : traits.httpQuery !== undefined
            ? (request.query.get(traits.httpQuery) ?? undefined)
            : undefined;
    if (text !== undefined) input[name] = fromText(member, text);
    if (traits.httpPrefixHeaders !== undefined)
      input[name] = prefixed(request.headers, traits.httpPrefixHeaders.toLowerCase());
    if (traits.httpPayload !== undefined) payload = { name, schema: member };
  }
  return { input, payload };
}

function prefixed(headers: Record<string, string>, prefix: string): Record<string, string> {
  const found = Object.entries(headers).filter(([name]) => name.startsWith(prefix));
  return Object.fromEntries(found.map(([name, value]) => [name.slice(prefix.length), value]));
}

/** Splits an answer into status, headers, and what is left for the body. */
export function writeBindings(output: Record<string, unknown>, operation: Operation) {
  const headers: WireResponse["headers"] = {};
  const body: Record<string, unknown> = {};
  let status = operation.http?.status ?? 200;
  let payload: { schema: NormalizedSchema; value: unknown } | undefined;
  let bodyMembers = 0;
  for (const [name, member] of membersOf(operation.output)) {
    const traits = traitsOf(member);
    const value = output[name];
    const bound = traits.httpHeader ?? traits.httpPrefixHeaders ?? traits.httpPayload ?? traits.httpResponseCode;
    if (bound === undefined) bodyMembers++;
    if (value === undefined || value === null) continue;
    if (traits.httpHeader !== undefined) headers[traits.httpHeader.toLowerCase()] = toText(member, value);
    else if (traits.httpPrefixHeaders !== undefined)
      for (const [key, item] of Object.entries(value))
        headers[`${traits.httpPrefixHeaders}${key}`.toLowerCase()] = String(item);
    else if (traits.httpPayload !== undefined) payload = { schema: member, value };
    else if (traits.httpResponseCode !== undefined) status = Number(value);
    else body[name] = value;
  }
  return { status, headers, body, payload, bodyMembers };
}
