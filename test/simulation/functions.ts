/**
 * Bundles the real handlers, and leaves every package external. An instance of a function is a fresh evaluation of our
 * own code. It has its own caches, which a crash discards, and its clients get their answers from the simulation.
 */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import vm from "node:vm";
import middy from "@middy/core";
import type { Context } from "aws-lambda";
import { build, type PluginBuild } from "esbuild";
import type { Mutant } from "./mutants.ts";

const root = path.resolve(import.meta.dirname, "../..");
const requireReal = createRequire(import.meta.url);

export const functionNames = [
  "start-rollout",
  "admit-tenants",
  "publish-cell",
  "await-acks",
  "settle-rollout",
  "record-edge-report",
  "advance-structure",
  "forget-edges",
  "free-tombstones",
  "find-drift",
  "sweep-snapshots",
  "observe-accelerator",
  "apply-accelerator",
] as const;
export type FunctionName = (typeof functionNames)[number];

/** What is bundled: the functions, and the command of an operator. */
export type Program = FunctionName | "rebuild";

export type Handler = (event: unknown, context: Context) => Promise<unknown>;
export type Code = Map<Program, { script: vm.Script; imports: Map<string, string[]> }>;

/** Bytes of a leaf in a simulation: buckets are divided and undivided by the routes of one or two tenants. */
export const smallLeafBytes = 400;
/** Silence after which an edge is given up in a simulation: some edges are silent for longer. */
export const giveUpMs = 150_000;
/** How long an object is kept that nothing names: shorter than most histories. */
const objectKeepMs = 60_000;
const file = "schemas/limits.ts";
const simulatedLimits = [
  { file, from: "leafBytesMax: 64 * 1024", to: `leafBytesMax: ${smallLeafBytes}` },
  { file, from: "giveUpMs: 30 * 60_000", to: `giveUpMs: ${giveUpMs}` },
  { file, from: "objectKeepMs: 7 * 24 * 3600 * 1000", to: `objectKeepMs: ${objectKeepMs}` },
  { file, from: "referenceEveryMs: 3600 * 1000", to: `referenceEveryMs: ${objectKeepMs / 4}` },
  { file, from: "placedMs: 3600 * 1000", to: `placedMs: ${objectKeepMs / 4}` },
];

/**
 * With the limits of simulations, unless they are to be as on AWS.
 * @throws when the mutant's text is not in the sources any more
 */
export async function bundle(mutant?: Mutant, { asOnAws = false } = {}): Promise<Code> {
  const changed = new Set<string>();
  const plugin = {
    name: "mutant",
    setup({ onLoad }: PluginBuild) {
      const changes = [...(mutant?.changes ?? []), ...(asOnAws ? [] : simulatedLimits)];
      for (const [file, some] of Map.groupBy(changes, (change) => change.file))
        onLoad({ filter: new RegExp(`${file.replaceAll(/[/.]/g, "\\$&")}$`) }, ({ path: found }) => {
          let contents = readFileSync(found, "utf8");
          for (const { from, to } of some) {
            if (!contents.includes(from)) throw new Error(`${file} has no ${from}`);
            contents = contents.replace(from, () => to);
          }
          changed.add(file);
          return { contents, loader: "ts" as const };
        });
    },
  };
  const { outputFiles } = await build({
    entryPoints: [...functionNames.map((name) => `functions/${name}.ts`), "cli/rebuild.ts"].map((file) =>
      path.join(root, file),
    ),
    define: { "import.meta.dirname": JSON.stringify(root) },
    bundle: true,
    write: false,
    outdir: "/",
    platform: "node",
    format: "cjs",
    target: "node24",
    packages: "external",
    keepNames: true,
    plugins: [plugin],
    logLevel: "error",
  });
  for (const { file } of mutant?.changes ?? []) if (!changed.has(file)) throw new Error(`${file} was not changed`);
  return new Map(
    outputFiles.map(({ path: file, text }) => {
      const name = path.basename(file, ".js") as Program;
      const script = new vm.Script(`(function (require, module, exports, Date, console) {${text}\n})`, {
        filename: `${name}.js`,
      });
      return [name, { script, imports: importsOf(text) }];
    }),
  );
}

/** The names that a bundle uses of each package. Copying all names into each instance would be most of the work. */
function importsOf(text: string): Map<string, string[]> {
  const names = new Map<string, string[]>();
  for (const [, variable, id] of text.matchAll(/(import_\w+) = .*require\("([^"]+)"\)/g)) {
    const used = [...text.matchAll(new RegExp(`\\b${variable}\\.(\\w+)`, "g"))].map((match) => match[1]!);
    names.set(id!, [...new Set([...(names.get(id!) ?? []), ...used])]);
  }
  return names;
}

/** What an instance calls, by service, region and command. */
export type Send = (service: string, region: string, operation: string, input: object) => Promise<unknown>;

const clients: Record<string, [service: string, client: string] | undefined> = {
  "@aws-sdk/client-dynamodb": ["dynamodb", "DynamoDBClient"],
  "@aws-sdk/client-s3": ["s3", "S3Client"],
  "@aws-sdk/client-sfn": ["states", "SFNClient"],
  "@aws-sdk/client-ssm": ["ssm", "SSMClient"],
  "@aws-sdk/client-kms": ["kms", "KMSClient"],
  "@aws-sdk/client-eventbridge": ["events", "EventBridgeClient"],
  "@aws-sdk/client-global-accelerator": ["globalaccelerator", "GlobalAcceleratorClient"],
  "@aws-sdk/client-ec2": ["ec2", "EC2Client"],
};

/** The default exports of packages without an entry for require. */
const importedOnly: Record<string, unknown> = { "@middy/core": middy };

/** The clock of an instance, ahead of the others by `skewMs`. */
function clockOf(skewMs: number): typeof Date {
  return class extends Date {
    constructor(...given: [] | [value: number | string | Date]) {
      if (given.length === 0) super(Date.now() + skewMs);
      else super(...given);
    }
    static override now = () => Date.now() + skewMs;
  } as typeof Date;
}

/** The exports of a fresh evaluation. `random` replaces the randomness of node:crypto. */
export function evaluate<Exports>(
  { script, imports }: Code extends Map<unknown, infer C> ? C : never,
  send: Send,
  random: () => number,
  skewMs: number,
): Exports {
  const module = { exports: {} };
  const load = (id: string): unknown => {
    const real = (importedOnly[id] ?? requireReal(id)) as Record<string, unknown>;
    const names = imports.get(id);
    if (names === undefined || names.includes("default")) return real; // imported as a whole
    const taken = Object.fromEntries(names.map((name) => [name, real[name]]));
    if (id === "@aws-sdk/lib-dynamodb") return { ...taken, DynamoDBDocumentClient: documentClient(real, send) };
    if (id === "node:crypto") return { ...taken, randomUUID: () => uuid(random) };
    const known = clients[id];
    if (known === undefined) return taken;
    const [service, name] = known;
    return { ...taken, [name]: clientOf(real[name] as { prototype: object }, service, send) };
  };
  const run = script.runInThisContext() as (
    require: typeof load,
    module: object,
    exports: object,
    clock: typeof Date,
    output: object,
  ) => void;
  run(load, module, module.exports, clockOf(skewMs), { log: () => {} });
  return module.exports as Exports;
}

interface Command {
  input: object;
  constructor: { name: string };
}

/** An object that paginators accept as the real client. Its `send` is ours. */
const answering = (prototype: object, service: string, region: string, send: Send): object =>
  Object.create(prototype, {
    send: { value: (command: Command) => send(service, region, command.constructor.name, command.input) },
  }) as object;

const clientOf = ({ prototype }: { prototype: object }, service: string, send: Send) =>
  function Client(config: { region?: string }) {
    return answering(prototype, service, config.region ?? "us-west-2", send);
  };

function documentClient(real: Record<string, unknown>, send: Send) {
  const { prototype } = real.DynamoDBDocumentClient as { prototype: object };
  return { from: () => answering(prototype, "dynamodb", "us-west-2", send) };
}

const uuid = (random: () => number) =>
  "xxxxxxxx-xxxx-4xxx-8xxx-xxxxxxxxxxxx".replaceAll("x", () => Math.floor(random() * 16).toString(16));
