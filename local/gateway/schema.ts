/** The SDK's published schemas: `[9, namespace, name, traits, input, output]` for an operation, 3 for a structure. */
import { NormalizedSchema } from "@smithy/core/schema";

export interface Operation {
  name: string;
  input: NormalizedSchema;
  output: NormalizedSchema;
  /** Method and path pattern of a REST operation. */
  http?: { method: string; path: string; literals: [string, string][]; status: number };
}

const cache = new WeakMap<object, Map<string, Operation>>();

/** All operations that a client publishes, by name. */
export function operationsOf(sdk: Record<string, unknown>): Map<string, Operation> {
  let operations = cache.get(sdk);
  if (operations === undefined) {
    operations = new Map();
    for (const [key, schema] of Object.entries(sdk))
      if (key.endsWith("$") && Array.isArray(schema) && schema[0] === 9) {
        const operation = parseOperation(schema);
        operations.set(operation.name, operation);
      }
    cache.set(sdk, operations);
  }
  return operations;
}

function parseOperation([, , name, traits, input, output]: unknown[]): Operation {
  const schemas = { input: NormalizedSchema.of(input as never), output: NormalizedSchema.of(output as never) };
  const http = (traits as { http?: [string, string, number] } | number | undefined) ?? 0;
  if (typeof http !== "object" || http.http === undefined) return { name: String(name), ...schemas };
  const [method, uri, status] = http.http;
  const [path = "/", query = ""] = uri.split("?");
  const literals = query === "" ? [] : query.split("&").map((part) => part.split("=") as [string, string]);
  return {
    name: String(name),
    ...schemas,
    http: { method, path, status, literals: literals.map(([k, v]) => [k, v ?? ""]) },
  };
}

/** The required members of a structure: they come first, and the schema's seventh element is their number. */
export function requiredMembers(schema: NormalizedSchema): string[] {
  const raw = schema.getSchema();
  if (!Array.isArray(raw)) return [];
  const [, , , , members, , required] = raw as unknown[];
  return Array.isArray(members) && typeof required === "number" ? (members as string[]).slice(0, required) : [];
}

export const membersOf = (schema: NormalizedSchema): [string, NormalizedSchema][] =>
  schema.isStructSchema() ? [...schema.structIterator()] : [];
