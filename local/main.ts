/** `npm run dev`: runs the embedded cloud until a signal stops it. */
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import path from "node:path";
import { Command, InvalidArgumentError } from "commander";
import pc from "picocolors";
import { writeAtomically } from "../edge/agent/files.ts";
import { endpointsFile, localDir } from "../schemas/local.ts";
import { Cloud } from "./cloud.ts";
import type { FaultRates } from "./faults.ts";
import type { ProfileName } from "./latency.ts";
import { profileOption, rateOption } from "./options.ts";
import { untilStopped } from "./signals.ts";

const between = (least: number, most: number) => (text: string) => {
  const value = Number(text);
  if (!(value >= least && value <= most)) throw new InvalidArgumentError(`Use a number from ${least} to ${most}.`);
  return value;
};

interface Options {
  profile: ProfileName;
  port: number;
  duplicates?: number;
  rate: Partial<FaultRates>;
  seed: number;
}
const { profile, port, duplicates, seed, ...options } = new Command("npm run dev --")
  .description("Runs Landfall's embedded cloud, with its edges, until Ctrl-C.")
  .addOption(profileOption())
  .option("--port <number>", "the AWS endpoint's port; 0 means any free port", between(0, 65_535), 4566)
  .option("--duplicates <share>", "the share of events to deliver twice, 0 to 1", between(0, 1))
  .addOption(rateOption())
  .option("--seed <number>", "faults of the same seed come in the same order", between(0, 2 ** 32 - 1), 1)
  .parse()
  .opts<Options>();
const rates = { ...options.rate, ...(duplicates === undefined ? {} : { duplicates }) };

/** The example uses the default loopback network. */
const exampleFile = path.resolve(import.meta.dirname, "../examples/tenant.json");

mkdirSync(localDir, { recursive: true });
const stopped = untilStopped();
try {
  await run();
} catch (error) {
  console.error(pc.red((error as Error).message));
  process.exit(1);
}
process.exit(0);

async function run(): Promise<void> {
  const cloud = await Cloud.boot({ dir: localDir, profile, port, rates, seed });
  const write = () => writeAtomically(endpointsFile, `${JSON.stringify(cloud.endpoints(), null, 1)}\n`);
  write();
  const refresh = setInterval(write, 1000); // pids change when something is restarted
  const { aws, accelerators, edges } = cloud.endpoints();
  console.log(
    `Landfall's embedded cloud runs: ${edges.length} edges, accelerator ${accelerators[0]?.address}, profile ${profile}`,
  );
  console.log(`AWS endpoint   ${aws.endpoint}   region ${aws.region}   access key and secret: ${aws.accessKeyId}`);
  console.log(`All endpoints  ${path.relative(process.cwd(), endpointsFile)}`);
  const example = path.join(localDir, "tenant.json");
  writeAtomically(
    example,
    readFileSync(exampleFile, "utf8").replaceAll("127.77.", `127.${cloud.context.geography.network}.`),
  );
  console.log(`Try            npm run landfall -- tenant put --wait ${path.relative(process.cwd(), example)}`);
  console.log("Stop it with   Ctrl-C");
  await stopped;
  clearInterval(refresh);
  await cloud.stop();
  rmSync(endpointsFile, { force: true });
  console.log("stopped");
}
