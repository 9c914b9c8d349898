import type { StageFleet } from "./fleet";
import { named, pascal } from "./names";

/** One snapshot bucket per region, so that an edge depends only on its region, and one for failed stream records. */
export function storage(fleet: StageFleet, accountId: $util.Input<string>) {
  const bucketIn = (logical: string, what: string, region: string) => {
    const bucket = new aws.s3.Bucket(
      logical,
      { bucket: $interpolate`${named(what)}-${region}-${accountId}`, region, forceDestroy: $app.removal === "remove" },
      { protect: $app.stage === "production" },
    );
    new aws.s3.BucketPublicAccessBlock(`${logical}Access`, {
      bucket: bucket.bucket,
      region,
      blockPublicAcls: true,
      blockPublicPolicy: true,
      ignorePublicAcls: true,
      restrictPublicBuckets: true,
    });
    return bucket;
  };
  const snapshots: Record<string, aws.s3.Bucket> = {};
  for (const region of fleet.regions) {
    const bucket = bucketIn(`Snapshots${pascal(region)}`, "snapshots", region);
    new aws.s3.BucketVersioning(`Snapshots${pascal(region)}Versions`, {
      bucket: bucket.bucket,
      region,
      versioningConfiguration: { status: "Enabled" },
    });
    snapshots[region] = bucket;
  }
  return { snapshots, failures: bucketIn("Failures", "failures", fleet.homeRegion) };
}
