/** `infra.lock.json`: every resource that sst.config.ts creates, normalised and in order. */
import type { Evaluation } from "./evaluate.ts";

/** Replaces or removes values that change with every build or run and do not describe the infrastructure. */
function normalise(value: unknown, key = ""): unknown {
  if (key === "code" || key === "s3Key" || key === "sourceCodeHash") return "<code>";
  if (typeof value === "string") return isContentKey(value) ? value : value.replace(randomSuffix, "$1");
  if (Array.isArray(value)) return value.map((item) => normalise(item));
  if (value === null || typeof value !== "object") return value;
  if (secretMark in value) return normalise((value as unknown as { value: unknown }).value);
  const { tags: _tags, __defaults: _defaults, ...members } = value as Record<string, unknown>;
  const kept = hasOwnTags(value) ? { ...members, tags: _tags } : members;
  return Object.fromEntries(
    Object.entries(kept)
      .filter(([, member]) => member !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, member]) => [name, normalise(member, name)]),
  );
}

/** Pulumi wraps values that a provider marks as secret, such as a parameter's value. Our values are not secret. */
const secretMark = "4dabf18193072939515e22adb298388d";

/** SST appends random letters to the names of the roles that it creates. */
const randomSuffix = /(\b[\w-]+Role)-[a-z]{8}\b/g;

/** A structure's name is its hash, which edges check: it must not change. */
const isContentKey = (text: string) => /^(objects\/)?[0-9a-f]{64}$/.test(text);
/** Auto Scaling's tags are a list that the program sets. SST adds tags with its app and stage to every resource. */
const hasOwnTags = (value: object) => Array.isArray((value as { tags?: unknown }).tags);

/** Resources that SST creates for itself and that Landfall does not need locally. */
const isSst = (type: string) => type.startsWith("sst:") || type.startsWith("random:") || type.startsWith("command:");

export function lockOf({ resources, handlers }: Evaluation): string {
  const byKey = new Map(
    resources
      .filter(({ type, inputs }) => !isSst(type) && !isCode(type, inputs))
      .map(({ type, name, region, inputs }) => {
        const handler = type === "aws:lambda/function:Function" ? handlerOf(name, handlers) : undefined;
        return [
          `${type} ${name}`,
          { region, ...(handler === undefined ? {} : { handler }), inputs: normalise(inputs) },
        ] as const;
      }),
  );
  const sorted = Object.fromEntries([...byKey].sort(([a], [b]) => (a < b ? -1 : 1)));
  return `${JSON.stringify({ resources: sorted }, null, 1)}\n`;
}

/** The zipped code that SST uploads for each function. */
const isCode = (type: string, inputs: Record<string, unknown>) =>
  type.startsWith("aws:s3/bucketObject") && String(inputs.bucket).startsWith("sst-asset");

function handlerOf(name: string, handlers: Map<string, string>): string {
  const found = [...handlers].find(([id]) => name === `${id}Function` || name === id);
  if (found === undefined)
    throw new Error(`no handler was built for ${name} (have ${[...handlers.keys()].join(", ")})`);
  return found[1];
}
