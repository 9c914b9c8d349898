/** `npm run synth`: writes infra.lock.json. `npm run synth -- --check`: fails when it is stale. */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { Command } from "commander";
import { writeAtomically } from "../../edge/agent/files.ts";
import { evaluate } from "./evaluate.ts";
import { lockOf } from "./lock.ts";

const root = path.resolve(import.meta.dirname, "../..");
const file = path.join(root, "infra.lock.json");
const values = new Command("npm run synth --")
  .description("Evaluates sst.config.ts without credentials, and writes its resources to infra.lock.json.")
  .option("--check", "write nothing; fail when the file is stale")
  .option("--stage <name>", "the stage to evaluate", "local")
  .option("--out <file>", "the file to write and to check", file)
  .parse()
  .opts<{ check?: boolean; stage: string; out: string }>();

installPlatform();
const text = lockOf(await evaluate(root, values.stage));
if (!values.check) {
  writeAtomically(path.resolve(values.out), text); // clouds boot from it
  console.log(
    `${path.relative(process.cwd(), values.out)}: ${Object.keys(JSON.parse(text).resources).length} resources`,
  );
} else if (readFileSync(values.out, "utf8") !== text) {
  console.error("infra.lock.json is stale: run `npm run synth` and review the difference");
  process.exit(1);
}
process.exit(0); // Pulumi's runtime keeps the loop alive

/** Installs SST's sources and providers, once per version. It needs no credentials. */
function installPlatform(): void {
  const wanted = (
    JSON.parse(readFileSync(path.join(root, "package.json"), "utf8")) as { devDependencies: { sst: string } }
  ).devDependencies.sst;
  const stamp = path.join(root, ".sst/.landfall-version");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === wanted) return;
  const env = { ...process.env, SST_SKIP_DEPENDENCY_CHECK: "1", NO_BUN: "1", SST_TELEMETRY_DISABLED: "1" };
  const installed = spawnSync(path.join(root, "node_modules/.bin/sst"), ["install", "--stage", "local"], {
    cwd: root,
    env,
    encoding: "utf8",
  });
  if (installed.status !== 0) {
    console.error(`sst install failed:\n${installed.stdout}${installed.stderr}`);
    process.exit(1);
  }
  writeFileSync(stamp, wanted);
}
