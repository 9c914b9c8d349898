import { XmlShapeDeserializer, XmlShapeSerializer } from "@aws-sdk/core/protocols";

const settings = (xmlNamespace: string) => ({
  xmlNamespace,
  serviceNamespace: "",
  timestampFormat: { useTrait: true, default: 5 as const },
  httpBindings: true,
});

/** Writes a structure as XML. `root`, if given, replaces the name of the root element. */
export function writeXml(schema: unknown, value: object, xmlNamespace: string, root?: string): string {
  const serializer = new XmlShapeSerializer(settings(xmlNamespace));
  serializer.write(schema as never, value);
  const text = String(serializer.flush());
  if (root === undefined) return text;
  return text.replace(/^<[\w.-]+/, `<${root}`).replace(/<\/[\w.-]+>$/, `</${root}>`);
}

export async function readXml(schema: unknown, body: Buffer, xmlNamespace: string): Promise<unknown> {
  return new XmlShapeDeserializer(settings(xmlNamespace)).read(schema as never, body);
}

const entities: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
export const escapeXml = (text: string) => text.replace(/[&<>"]/g, (character) => entities[character]!);
