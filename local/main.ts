/** `npm run dev`: keeps the embedded cloud running until it is told to stop. */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { Cloud } from "./cloud.ts";
import { endpointsFile, localDir } from "./endpoints.ts";
import { profiles } from "./latency.ts";
import { untilStopped } from "./signals.ts";

const { values } = parseArgs({
  options: { profile: { type: "string", default: "none" }, port: { type: "string", default: "4566" } },
});
const profile = values.profile as keyof typeof profiles;
if (!(profile in profiles)) throw new Error(`--profile is ${Object.keys(profiles).join(" or ")}, not ${profile}`);

mkdirSync(localDir, { recursive: true });
const stopped = untilStopped();
const cloud = await Cloud.boot({ dir: localDir, profile, port: Number(values.port) });
const write = () => writeFileSync(endpointsFile, `${JSON.stringify(cloud.endpoints(), null, 1)}\n`);
write();
const refresh = setInterval(write, 1000); // pids change when something is restarted
const { aws, accelerators, edges } = cloud.endpoints();
console.log(
  `Landfall's embedded cloud runs (profile ${profile}): ${edges.length} edges, accelerator ${accelerators[0]?.address}`,
);
console.log(`AWS endpoint   ${aws.endpoint}   region ${aws.region}   access key and secret: ${aws.accessKeyId}`);
console.log(`Everything     ${path.relative(process.cwd(), endpointsFile)}`);
console.log("Try            npm run landfall -- tenant put examples/tenant.json");
await stopped;
clearInterval(refresh);
await cloud.stop();
rmSync(endpointsFile, { force: true });
process.exit(0);
