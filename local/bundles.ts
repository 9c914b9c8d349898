/** Bundles the functions and the agent as a deployment does. */
import path from "node:path";
import { Command } from "commander";
import { type BuildOptions, build } from "esbuild";

const root = path.resolve(import.meta.dirname, "..");
/** Without this banner, a bundle loads but fails at its first dynamic require. */
const banner = { js: "import { createRequire as __cr } from 'node:module'; const require = __cr(import.meta.url);" };
const common: BuildOptions = {
  bundle: true,
  minify: true,
  keepNames: true, // workflows match errors by their class names
  platform: "node",
  target: "node24",
  format: "esm",
  mainFields: ["module", "main"],
  banner,
  logLevel: "error",
};

/** Maps each handler, `functions/x.handler`, to the file of its bundle. */
export async function bundleFunctions(handlers: string[], outdir: string): Promise<Map<string, string>> {
  const files = [...new Set(handlers.map((handler) => handler.replace(/\.\w+$/, "")))];
  const entryPoints = files.map((file) => path.join(root, `${file}.ts`));
  await build({ ...common, entryPoints, outdir, outExtension: { ".js": ".mjs" } });
  return new Map(
    handlers.map((handler) => [handler, path.join(outdir, `${path.basename(handler).replace(/\.\w+$/, "")}.mjs`)]),
  );
}

export async function bundleAgent(outfile: string): Promise<void> {
  await build({ ...common, entryPoints: [path.join(root, "edge/agent/main.ts")], outfile });
}

if (import.meta.main) {
  new Command("npm run build:agent").description("Bundles the edge's agent into dist/agent.mjs.").parse();
  await bundleAgent(path.join(root, "dist/agent.mjs"));
}
