/** `npm run schemas`: writes the contracts as JSON Schema, for writers in other languages, and the record's fields as a page. */
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import * as z from "zod";
import { controlEvents, EdgeHealth, EdgeReport } from "./events.ts";
import { Fleet } from "./fleet.ts";
import { Manifest, RouteBucket, SignedManifest } from "./snapshot.ts";
import { TenantRecord } from "./tenant.ts";

const root = path.resolve(import.meta.dirname, "..");

/** What is written, before it is normalised: names in Unicode, addresses in any valid form. */
const schemaOf = (schema: z.ZodType, title: string) =>
  `${JSON.stringify({ title, ...z.toJSONSchema(schema, { io: "input" }) }, null, 2)}\n`;

const kebab = (words: string) => words.toLowerCase().replaceAll(" ", "-");

interface FieldSchema {
  description?: string;
  type?: string;
  items?: FieldSchema;
  additionalProperties?: FieldSchema | boolean;
  maxItems?: number;
  maxProperties?: number;
}

function typeOf({ type, items, additionalProperties, maxItems, maxProperties }: FieldSchema): string {
  if (type === "array") return `list of ${typeOf(items ?? {})}${maxItems === undefined ? "" : `, at most ${maxItems}`}`;
  if (type === "object" && typeof additionalProperties === "object")
    return `object of ${typeOf(additionalProperties)}${maxProperties === undefined ? "" : `, at most ${maxProperties}`}`;
  return type ?? "any";
}

function fieldsOfRecord(): string {
  const { properties = {}, required = [] } = z.toJSONSchema(TenantRecord, { io: "input" }) as {
    properties?: Record<string, FieldSchema>;
    required?: string[];
  };
  const rows = Object.entries(properties).map(
    ([name, field]) =>
      `| \`${name}\` | ${typeOf(field)} | ${required.includes(name) ? "yes" : "no"} | ${field.description ?? ""} |`,
  );
  return ["| field | type | required | meaning |", "|---|---|---|---|", ...rows].join("\n");
}

/** Every file that follows from the schemas, by its path in the project. */
export function exported(): Map<string, string> {
  const files = new Map<string, string>([
    ["schemas/json/tenant.schema.json", schemaOf(TenantRecord, "Landfall tenant record")],
    ["schemas/json/fleet.schema.json", schemaOf(Fleet, "Landfall fleet")],
    ["schemas/json/signed-manifest.schema.json", schemaOf(SignedManifest, "Landfall signed manifest")],
    ["schemas/json/manifest.schema.json", schemaOf(Manifest, "Landfall manifest")],
    ["schemas/json/route-bucket.schema.json", schemaOf(RouteBucket, "Landfall route bucket")],
    ["schemas/json/events/edge-report.schema.json", schemaOf(EdgeReport, "Edge Report")],
    ["schemas/json/events/edge-health.schema.json", schemaOf(EdgeHealth, "Edge Health")],
  ]);
  for (const [detailType, schema] of Object.entries(controlEvents))
    files.set(`schemas/json/events/${kebab(detailType)}.schema.json`, schemaOf(schema, detailType));
  const page = path.join(root, "docs/tenant-record.md");
  const marked = /(<!-- fields -->\n)[\s\S]*?(<!-- \/fields -->)/;
  files.set(
    "docs/tenant-record.md",
    readFileSync(page, "utf8").replace(marked, (_, from, to) => `${from}${fieldsOfRecord()}\n${to}`),
  );
  return files;
}

if (import.meta.main) for (const [file, text] of exported()) writeFileSync(path.join(root, file), text);
