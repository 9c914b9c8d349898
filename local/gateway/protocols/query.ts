/** awsQuery and ec2Query: a form in, XML out. */
import { FromStringShapeDeserializer } from "@smithy/core/protocols";
import type { NormalizedSchema } from "@smithy/core/schema";
import { membersOf, operationsOf } from "../schema.ts";
import type { Protocol } from "./protocol.ts";
import { escapeXml, writeXml } from "./xml.ts";

const scalars = new FromStringShapeDeserializer({
  httpBindings: false,
  timestampFormat: { useTrait: true, default: 5 },
});
const capital = (name: string) => name.charAt(0).toUpperCase() + name.slice(1);

/** A value from `Name.member.1.Key=…` (query) or `Name.1.Key=…` (EC2, or a flattened list). */
function readValue(form: URLSearchParams, prefix: string, schema: NormalizedSchema, ec2: boolean): unknown {
  if (schema.isStructSchema()) {
    const entries = membersOf(schema).map(([name, member]) => {
      const value = readValue(form, join(prefix, wireName(name, member, ec2)), member, ec2);
      return [name, value] as const;
    });
    const present = entries.filter(([, value]) => value !== undefined);
    return present.length === 0 && prefix !== "" ? undefined : Object.fromEntries(present);
  }
  if (schema.isListSchema()) {
    const flat = ec2 || (schema.getMergedTraits() as { xmlFlattened?: unknown }).xmlFlattened !== undefined;
    const items: unknown[] = [];
    for (let index = 1; ; index++) {
      const item = readValue(
        form,
        flat ? `${prefix}.${index}` : `${prefix}.member.${index}`,
        schema.getValueSchema(),
        ec2,
      );
      if (item === undefined) return items.length === 0 ? undefined : items;
      items.push(item);
    }
  }
  const text = form.get(prefix);
  return text === null ? undefined : scalars.read(schema as never, text);
}

function wireName(name: string, member: NormalizedSchema, ec2: boolean): string {
  const { ec2QueryName, xmlName } = member.getMergedTraits() as { ec2QueryName?: string; xmlName?: string };
  return ec2 ? (ec2QueryName ?? capital(xmlName ?? name)) : (xmlName ?? name);
}

const join = (prefix: string, name: string) => (prefix === "" ? name : `${prefix}.${name}`);

const queryProtocol = (ec2: boolean): Protocol => ({
  match(request, service) {
    const operation = operationsOf(service.sdk).get(new URLSearchParams(request.body.toString()).get("Action") ?? "");
    return operation && { operation, labels: {} };
  },
  async read(request, operation) {
    const form = new URLSearchParams(request.body.toString());
    return operation.input.isStructSchema()
      ? (readValue(form, "", operation.input, ec2) as Record<string, unknown>)
      : {};
  },
  write(output, operation, requestId) {
    const result = operation.output.isStructSchema()
      ? writeXml(operation.output, output, "", `${operation.name}Result`)
      : "";
    const bare = result.replace(/ xmlns(=""|)/g, "");
    const text = ec2
      ? `<${operation.name}Response>${bare.replace(/^<[^>]*?\/>$|^<[^>]+>|<\/[^>]+>$/g, "")}<requestId>${requestId}</requestId></${operation.name}Response>`
      : `<${operation.name}Response>${bare}<ResponseMetadata><RequestId>${requestId}</RequestId></ResponseMetadata></${operation.name}Response>`;
    return { status: 200, headers: { "content-type": "text/xml" }, body: text };
  },
  fail(error, requestId) {
    const body = `<Code>${escapeXml(error.name)}</Code><Message>${escapeXml(error.message)}</Message>`;
    const text = ec2
      ? `<Response><Errors><Error>${body}</Error></Errors><RequestID>${requestId}</RequestID></Response>`
      : `<ErrorResponse><Error><Type>Sender</Type>${body}</Error><RequestId>${requestId}</RequestId></ErrorResponse>`;
    return { status: error.status, headers: { "content-type": "text/xml" }, body: text };
  },
});

export const awsQuery = queryProtocol(false);
export const ec2Query = queryProtocol(true);
