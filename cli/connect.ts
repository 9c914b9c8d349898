/** Connects a command to a Landfall: the one that `npm run dev` runs on this machine, or a deployed stage. */
import { existsSync, readFileSync } from "node:fs";
import { type Endpoints, endpointsFile } from "../schemas/local.ts";

/** A mistake of the user, or a step that the user has to take; printed without a stack trace. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

export function localEndpoints(): Endpoints {
  if (!existsSync(endpointsFile))
    throw new UsageError(
      "no embedded cloud runs here: start one with `npm run dev`, or name a deployed stage with --stage",
    );
  return JSON.parse(readFileSync(endpointsFile, "utf8")) as Endpoints;
}

/** Sets the environment that aws/ reads. Must be called once, before aws/ is loaded. */
export function connect(stage: string | undefined): void {
  if (stage === undefined) connectTo(localEndpoints());
  else useStage(stage, {});
}

/** The same for an embedded cloud whose endpoints are known. */
export function connectTo({ aws, tables, bus, publicKeys }: Endpoints): void {
  useStage("local", {
    LANDFALL_TENANTS_TABLE: tables.tenants,
    LANDFALL_LEDGER_TABLE: tables.ledger,
    LANDFALL_REPORTS_TABLE: tables.reports,
    LANDFALL_ROLLOUTS_TABLE: tables.rollouts,
    LANDFALL_BUS: bus,
    LANDFALL_SIGNING_KEY: Object.keys(publicKeys)[0],
    AWS_ENDPOINT_URL: aws.endpoint,
    AWS_REGION: aws.region,
    AWS_ACCESS_KEY_ID: aws.accessKeyId,
    AWS_SECRET_ACCESS_KEY: aws.secretAccessKey,
  });
}

/** Names follow from the stage's (infra/names.ts). */
function useStage(stage: string, known: NodeJS.ProcessEnv): void {
  Object.assign(process.env, {
    LANDFALL_STAGE: stage,
    LANDFALL_TENANTS_TABLE: `landfall-${stage}-tenants`,
    LANDFALL_LEDGER_TABLE: `landfall-${stage}-ledger`,
    LANDFALL_REPORTS_TABLE: `landfall-${stage}-reports`,
    LANDFALL_ROLLOUTS_TABLE: `landfall-${stage}-rollouts`,
    LANDFALL_BUS: `landfall-${stage}-bus`,
    LANDFALL_SIGNING_KEY: "not used by commands",
    ...known,
  });
}
