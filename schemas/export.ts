/** `npm run schemas`: writes the contracts as JSON Schema, for other languages, and the record's fields and the limits as pages. */
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { Command } from "commander";
import * as z from "zod";
import { controlEvents, EdgeHealth } from "./events.ts";
import { Fleet } from "./fleet.ts";
import * as limits from "./limits.ts";
import { EdgeReport } from "./report.ts";
import { Manifest, RouteObject, SignedManifest } from "./snapshot.ts";
import { TenantRecord } from "./tenant.ts";

const root = path.resolve(import.meta.dirname, "..");

/** The schema of the input before it is normalised: names in Unicode, addresses in any valid form. */
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
  anyOf?: FieldSchema[];
}

function typeOf({ type, items, additionalProperties, maxItems, maxProperties, anyOf }: FieldSchema): string {
  if (anyOf !== undefined) return anyOf.map(({ type }) => type ?? "any").join(" or ");
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

/** A table for each group of limits.ts: the comments are read from the file, the values from the module. */
function tablesOfLimits(): string {
  const source = readFileSync(path.join(root, "schemas/limits.ts"), "utf8");
  const values = new Map<string, object>(Object.entries(limits).map(([name, value]) => [name, Object(value)]));
  const groups = [...source.matchAll(/\/\*\* ([^/]+) \*\/\nexport const (\w+)[^=]*= \{\n([\s\S]*?)\n\}/g)];
  return groups
    .map(([, about = "", name = "", members]) => {
      const value = values.get(name)!;
      const reasons = reasonsIn(members ?? "");
      const rows = Object.entries(value).map(
        ([member, number]) => `| \`${member}\` | ${number.toLocaleString("en")} | ${reasons.get(member) ?? ""} |`,
      );
      return [`## ${about.replace(/\.$/, "")}`, "", `| \`${name}\` | value | why |`, "|---|---|---|", ...rows].join(
        "\n",
      );
    })
    .join("\n\n");
}

/** A comment holds for the members below it, up to the next comment. */
function reasonsIn(members: string): Map<string, string> {
  const reasons = new Map<string, string>();
  let reason = "";
  for (const line of members.split("\n")) {
    reason = /\/\*\* (.*) \*\//.exec(line)?.[1] ?? reason;
    const member = /^ {2}"?([\w-]+)"?:/.exec(line)?.[1];
    if (member !== undefined) reasons.set(member, reason);
  }
  return reasons;
}

/** A page with the text between its marks replaced. */
function marked(file: string, name: string, text: string): [string, string] {
  const between = new RegExp(`(<!-- ${name} -->\\n)[\\s\\S]*?(<!-- /${name} -->)`);
  const page = readFileSync(path.join(root, file), "utf8");
  return [file, page.replace(between, (_, from, to) => `${from}${text}\n${to}`)];
}

/** Every file that follows from the schemas, by its path in the project. */
export function exported(): Map<string, string> {
  const files = new Map<string, string>([
    ["schemas/json/tenant.schema.json", schemaOf(TenantRecord, "Landfall tenant record")],
    ["schemas/json/fleet.schema.json", schemaOf(Fleet, "Landfall fleet")],
    ["schemas/json/signed-manifest.schema.json", schemaOf(SignedManifest, "Landfall signed manifest")],
    ["schemas/json/manifest.schema.json", schemaOf(Manifest, "Landfall manifest")],
    ["schemas/json/route-object.schema.json", schemaOf(RouteObject, "Landfall route object")],
    ["schemas/json/edge-report.schema.json", schemaOf(EdgeReport, "Edge Report")],
    ["schemas/json/events/edge-health.schema.json", schemaOf(EdgeHealth, "Edge Health")],
  ]);
  for (const [detailType, schema] of Object.entries(controlEvents))
    files.set(`schemas/json/events/${kebab(detailType)}.schema.json`, schemaOf(schema, detailType));
  files.set(...marked("docs/tenant-record.md", "fields", fieldsOfRecord()));
  files.set(...marked("docs/limits.md", "limits", tablesOfLimits()));
  return files;
}

if (import.meta.main) {
  new Command("npm run schemas --")
    .description("Writes the JSON Schemas, and the generated tables of docs/tenant-record.md and docs/limits.md.")
    .parse();
  for (const [file, text] of exported()) writeFileSync(path.join(root, file), text);
}
