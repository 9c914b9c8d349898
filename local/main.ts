/** `npm run dev`: runs the embedded cloud until a signal stops it. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { Command, InvalidArgumentError, Option } from "commander";
import pc from "picocolors";
import { endpointsFile, localDir } from "../schemas/local.ts";
import { Cloud } from "./cloud.ts";
import { type Latency, profiles } from "./latency.ts";
import { untilStopped } from "./signals.ts";

const between = (least: number, most: number) => (text: string) => {
  const value = Number(text);
  if (!(value >= least && value <= most)) throw new InvalidArgumentError(`Use a number from ${least} to ${most}.`);
  return value;
};

const { profile, port, duplicates } = new Command("npm run dev --")
  .description("Runs Landfall's embedded cloud, with its edges, until Ctrl-C.")
  .addOption(new Option("--profile <name>", "the latency to add").choices(Object.keys(profiles)).default("none"))
  .option("--port <number>", "the AWS endpoint's port; 0 means any free port", between(0, 65_535), 4566)
  .option("--duplicates <share>", "the share of events to deliver twice, 0 to 1", between(0, 1), 0)
  .parse()
  .opts<{ profile: Latency["name"]; port: number; duplicates: number }>();

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
  const cloud = await Cloud.boot({ dir: localDir, profile, port });
  cloud.context.services.events.duplicateShare = duplicates;
  const write = () => writeFileSync(endpointsFile, `${JSON.stringify(cloud.endpoints(), null, 1)}\n`);
  write();
  const refresh = setInterval(write, 1000); // pids change when something is restarted
  const { aws, accelerators, edges } = cloud.endpoints();
  console.log(
    `Landfall's embedded cloud runs: ${edges.length} edges, accelerator ${accelerators[0]?.address}, profile ${profile}`,
  );
  console.log(`AWS endpoint   ${aws.endpoint}   region ${aws.region}   access key and secret: ${aws.accessKeyId}`);
  console.log(`All endpoints  ${path.relative(process.cwd(), endpointsFile)}`);
  const example = path.join(localDir, "tenant.json");
  writeFileSync(
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
