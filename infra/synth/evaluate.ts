/**
 * Evaluates sst.config.ts without an account, as the sst CLI does before it calls Pulumi: with the same bundle, globals
 * and shim, and with Pulumi's mocks instead of the engine. It depends on internals of the pinned version of sst.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import http from "node:http";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import os from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { build, type Plugin } from "esbuild";
import { account, answerCall, outputsOf } from "./mocks.ts";

export interface Resource {
  type: string;
  name: string;
  region: string;
  inputs: Record<string, unknown>;
}
export interface Evaluation {
  resources: Resource[];
  /** Lambda's logical function id → `functions/file.export`. */
  handlers: Map<string, string>;
}

const header = `import { createRequire as __cr } from 'module';
const require = __cr(import.meta.url);
import { fileURLToPath as __fu } from "url";
const __filename = __fu(import.meta.url); const __dirname = __fu(new URL(".", import.meta.url));`;
const external = [
  "@pulumi/*",
  "undici",
  "@pulumiverse/*",
  "@sst-provider/*",
  "@aws-sdk/*",
  "esbuild",
  "archiver",
  "glob",
  "vite",
];
const settleMs = 60_000;

export async function evaluate(root: string, stage: string): Promise<Evaluation> {
  const platform = path.join(root, ".sst/platform");
  const scratch = mkdtempSync(path.join(os.tmpdir(), "landfall-synth-"));
  const made: string[] = [scratch];
  const errors: Error[] = [];
  let fail = () => {};
  const failed = new Promise<void>((resolve) => {
    fail = resolve;
  });
  process.on("unhandledRejection", (error) => {
    errors.push(error instanceof Error ? error : new Error(String(error)));
    setTimeout(fail, 300);
  });
  const rpc = await startRpc(root, scratch);
  process.env.SST_SERVER = rpc.url;
  try {
    const load = async (name: string, code: string, options: Parameters<typeof bundle>[3]) => {
      const file = path.join(platform, `synth.${process.pid}.${name}.mjs`);
      made.push(file);
      await bundle(root, file, code, options);
      return ((await import(pathToFileURL(file).href)) as { default: unknown }).default;
    };
    const config = JSON.stringify(path.join(root, "sst.config.ts"));
    const app = (await load(
      "app",
      `import mod from ${config}; export default await mod.app({ stage: ${JSON.stringify(stage)} });`,
      {
        banner: "\nfunction $config(i){return i}",
      },
    )) as { name: string; providers: { aws: { region: string } } };
    const full = { removal: "retain", protect: false, ...app, stage };
    const paths = { home: scratch, root, work: scratch, platform };
    const providers = JSON.parse(readFileSync(path.join(root, ".sst/provider-lock.json"), "utf8")) as {
      alias: string;
      package: string;
    }[];
    const program = (await load(
      "run",
      `import { run } from ${JSON.stringify(path.join(platform, "src/auto/run.ts"))};
       import mod from ${config}; export default () => run(mod.run);`,
      {
        define: {
          $app: JSON.stringify(full),
          $dev: "false",
          $cli: JSON.stringify({ command: "deploy", dev: false, paths, state: { version: {} } }),
        },
        inject: [path.join(platform, "src/shim/run.js")],
        globals: [
          ...providers.map((provider) => `import * as ${provider.alias} from "${provider.package}";`),
          `import * as sst from "${path.join(platform, "src/components")}";`,
        ].join("\n"),
      },
    )) as () => Promise<unknown>;
    const resources = await runMocked(platform, app.name, stage, app.providers.aws.region, program, failed, errors);
    errors.push(...rpc.errors);
    if (errors.length > 0) throw new AggregateError(errors, errors.map((error) => error.message).join("\n"));
    return { resources, handlers: rpc.handlers };
  } finally {
    rpc.close();
    for (const file of made) rmSync(file, { force: true, recursive: true });
  }
}

interface BundleOptions {
  banner?: string;
  define?: Record<string, string>;
  inject?: string[];
  globals?: string;
}

async function bundle(root: string, outfile: string, contents: string, options: BundleOptions): Promise<void> {
  const { banner = "", define = {}, inject = [], globals = "" } = options;
  const work = path.join(root, ".sst");
  const injectGlobals: Plugin = {
    name: "inject-globals",
    setup(build) {
      build.onLoad({ filter: /\.(js|ts|jsx|tsx)$/ }, (args) =>
        args.path.startsWith(work)
          ? undefined
          : {
              contents: `${globals}\n${readFileSync(args.path, "utf8")}`,
              loader: path.extname(args.path).slice(1) as "ts",
            },
      );
    },
  };
  await build({
    stdin: { contents, resolveDir: root, sourcefile: "eval.ts", loader: "ts" },
    banner: { js: header + banner },
    mainFields: ["module", "main"],
    format: "esm",
    platform: "node",
    bundle: true,
    outfile,
    define,
    inject,
    logLevel: "silent",
    nodePaths: [path.join(work, "platform/node_modules")],
    plugins: [injectGlobals],
    external,
  });
}

/** The two methods of the CLI's RPC server that a program without a frontend calls. */
async function startRpc(root: string, scratch: string) {
  const handlers = new Map<string, string>();
  const errors: Error[] = [];
  const methods: Record<string, (input: never) => Promise<unknown>> = {
    "Provider.Aws.Bootstrap": async () => ({
      asset: "sst-asset",
      assetEcrRegistryId: account,
      assetEcrUrl: "ecr/asset",
      state: "sst-state",
      appsyncHttp: "http",
      appsyncRealtime: "realtime",
    }),
    "Runtime.Build": async (input: { functionID: string; handler: string }) => {
      const { dir, name, ext } = path.parse(input.handler);
      const out = path.join(scratch, "artifacts", `${input.functionID}-src`);
      try {
        const { metafile } = await build({
          entryPoints: [path.join(root, dir, `${name}.ts`)],
          bundle: true,
          platform: "node",
          format: "esm",
          target: "node24",
          outfile: path.join(out, "bundle.mjs"),
          metafile: true,
          logLevel: "silent",
          mainFields: ["module", "main"],
          banner: { js: header },
        });
        const exported = Object.values(metafile.outputs)[0]?.exports ?? [];
        if (!exported.includes(ext.slice(1)))
          throw new Error(`${input.handler}: no such export (it has ${exported.join(", ")})`);
      } catch (error) {
        errors.push(new Error(`${input.handler} does not build: ${String(error)}`));
        return { errors: [String(error)] };
      }
      handlers.set(input.functionID, input.handler);
      return { handler: `bundle${ext}`, out, errors: [], sourcemaps: [] };
    },
  };
  const server = http.createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const { method, params } = JSON.parse(Buffer.concat(chunks).toString()) as { method: string; params: never[] };
    const answer = methods[method];
    if (answer === undefined) errors.push(new Error(`sst calls ${method}, which this synth does not answer`));
    response.end(
      JSON.stringify(answer === undefined ? { error: `no method ${method}` } : { result: await answer(params[0]!) }),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, handlers, errors, close: () => server.close() };
}

interface Pulumi {
  runtime: {
    setMocks(mocks: object, project: string, stack: string, preview: boolean, organization: string): Promise<void>;
    runInPulumiStack(program: () => Promise<unknown>): Promise<unknown>;
  };
}

async function runMocked(
  platform: string,
  project: string,
  stage: string,
  home: string,
  program: () => Promise<unknown>,
  failed: Promise<void>,
  errors: Error[],
): Promise<Resource[]> {
  const require = createRequire(path.join(platform, "package.json")); // the platform's copy, the one that the bundle uses
  const pulumi = require("@pulumi/pulumi") as Pulumi;
  const { waitForRPCs } = require("@pulumi/pulumi/runtime/settings") as { waitForRPCs(): Promise<void> };
  const resources: Resource[] = [];
  let calls = 0;
  await pulumi.runtime.setMocks(
    {
      newResource({
        type,
        name,
        inputs,
        id,
        custom,
      }: {
        type: string;
        name: string;
        inputs: Resource["inputs"];
        id?: string;
        custom: boolean;
      }) {
        const region = String(inputs.region ?? home);
        if (custom && !type.startsWith("pulumi:")) resources.push({ type, name, region, inputs });
        const physical = String(inputs.name ?? name);
        return {
          id: id || physical,
          state: { name: physical, ...inputs, ...outputsOf(type, physical, inputs, region) },
        };
      },
      call({ token, inputs }: { token: string; inputs: Record<string, unknown> }) {
        calls++;
        const answer = answerCall(token, inputs, String(inputs.region ?? home));
        if (answer === undefined)
          errors.push(new Error(`the program calls ${token}, which this synth does not answer`));
        return answer ?? inputs;
      },
    },
    project,
    stage,
    false,
    "organization",
  );
  const settled = async () => {
    await pulumi.runtime.runInPulumiStack(program);
    // Functions are created inside applies: wait until no new resources and calls appear.
    for (let quiet = 0, last = -1; quiet < 20; ) {
      await waitForRPCs();
      await new Promise((resolve) => setTimeout(resolve, 10));
      const seen = resources.length + calls;
      quiet = seen === last ? quiet + 1 : 0;
      last = seen;
    }
  };
  const late = setTimeout(() => errors.push(new Error(`synth did not settle in ${settleMs} ms`)), settleMs);
  // After a rejected apply, waitForRPCs never resolves, hence the race.
  await Promise.race([settled().catch((error) => errors.push(error as Error)), failed]);
  clearTimeout(late);
  return resources;
}
