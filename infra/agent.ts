import { existsSync } from "node:fs";
import path from "node:path";
import { localStage, type StageFleet } from "./fleet";
import { pascal } from "./names";

/** Uploads the agent, bundled into one file by `npm run build:agent`, for edges to fetch when they boot. */
export function agentBundle(fleet: StageFleet, snapshots: Record<string, aws.s3.Bucket>, root: string) {
  if ($app.stage === localStage) return; // local edges run the bundle from the disk
  const bundle = path.join(root, "dist/agent.mjs");
  if (!existsSync(bundle)) throw new Error("dist/agent.mjs is missing: run `npm run build:agent` before `sst deploy`");
  for (const region of fleet.regions)
    new aws.s3.BucketObjectv2(`Agent${pascal(region)}`, {
      bucket: snapshots[region].bucket,
      region,
      key: "agent/agent.mjs",
      source: new $util.asset.FileAsset(bundle),
      contentType: "text/javascript",
    });
}
