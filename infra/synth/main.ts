/** `npm run synth`: writes infra.lock.json. `npm run synth -- --check`: fails when it is stale. */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { evaluate } from "./evaluate.ts";
import { lockOf } from "./lock.ts";

const root = path.resolve(import.meta.dirname, "../..");
const file = path.join(root, "infra.lock.json");
const { values } = parseArgs({
  options: {
    check: { type: "boolean" },
    stage: { type: "string", default: "local" },
    out: { type: "string", default: file },
  },
});

installPlatform();
const text = lockOf(await evaluate(root, values.stage));
if (!values.check) {
  writeFileSync(values.out, text);
  console.log(
    `${path.relative(process.cwd(), values.out)}: ${Object.keys(JSON.parse(text).resources).length} resources`,
  );
} else if (readFileSync(values.out, "utf8") !== text) {
  console.error("infra.lock.json is stale: run `npm run synth` and review the difference");
  process.exit(1);
}
process.exit(0); // Pulumi's runtime keeps the loop alive

/** SST's own sources and providers: unpacked once per version, no credentials needed. */
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
