/** `npm run check`: format and lint, types, and the lock. */
import { spawnSync } from "node:child_process";
import path from "node:path";
import { Command } from "commander";

const root = path.resolve(import.meta.dirname, "..");
const bin = (name: string) => path.join(root, "node_modules/.bin", name);
const steps: [string, string, string[]][] = [
  ["format and lint", bin("biome"), ["check", "--error-on-warnings", "."]],
  ["infra.lock.json", process.execPath, ["infra/synth/main.ts", "--check"]], // before the types: it unpacks sst's
  ["types", bin("tsc"), ["-p", "tsconfig.json"]],
  ["types of sst.config.ts and infra/", bin("tsc"), ["-p", "tsconfig.infra.json"]],
];

new Command("npm run check").description("Checks format, lint, types, and that infra.lock.json is current.").parse();
let failed = 0;
for (const [what, command, args] of steps) {
  const { status } = spawnSync(command, args, { cwd: root, stdio: "inherit" });
  console.log(`${status === 0 ? "ok    " : "FAILED"} ${what}`);
  if (status !== 0) failed++;
}
process.exit(failed === 0 ? 0 : 1);
