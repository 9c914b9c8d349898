import { GetParametersCommand, SSMClient } from "@aws-sdk/client-ssm";
import * as z from "zod";
import { Fleet } from "../schemas/fleet.ts";
import { clientLimits } from "../schemas/limits.ts";
import { type PublicKeys, parseKeys } from "../schemas/signed.ts";

/** Environment of every function, read once. */
export const environment = z
  .object({
    LANDFALL_STAGE: z.string(),
    LANDFALL_TENANTS_TABLE: z.string(),
    LANDFALL_LEDGER_TABLE: z.string(),
    LANDFALL_BUS: z.string(),
    LANDFALL_SIGNING_KEY: z.string(),
    LANDFALL_ROLLOUT_MACHINE: z.string().optional(),
  })
  .parse(process.env);

const client = new SSMClient({});
const path = `/landfall/${environment.LANDFALL_STAGE}`;
let kept: { until: number; settings: Promise<Settings> } | undefined;

export interface Settings {
  fleet: Fleet;
  /** SHA-256 of the structure that each cell's edges should have. */
  structures: Record<string, string>;
  /** `monitor` decides and logs, but does not write the accelerator. */
  mode: "monitor" | "enforce";
  /** Nothing is published and the accelerator is not written; the work is kept until the freeze ends. */
  frozen: boolean;
}

/** The platform team's settings, at most five seconds old. */
export function loadSettings(now = Date.now()): Promise<Settings> {
  if (kept === undefined || kept.until <= now) {
    const settings = readSettings();
    settings.catch(() => {
      kept = undefined;
    });
    kept = { until: now + clientLimits.settingsMaxAgeMs, settings };
  }
  return kept.settings;
}

async function readSettings(): Promise<Settings> {
  const names = ["fleet", "structures", "mode", "freeze"].map((name) => `${path}/${name}`);
  const { Parameters = [] } = await client.send(new GetParametersCommand({ Names: names }));
  const value = (name: string) => {
    const parameter = Parameters.find((candidate) => candidate.Name === `${path}/${name}`);
    if (parameter?.Value === undefined)
      throw new Error(`SSM parameter ${path}/${name} is missing: deploy the stage again`);
    return parameter.Value;
  };
  return {
    fleet: named("fleet", () => Fleet.parse(JSON.parse(value("fleet")))),
    structures: named("structures", () => Structures.parse(JSON.parse(value("structures")))),
    mode: named("mode", () => Mode.parse(value("mode"))),
    frozen: named("freeze", () => Freeze.parse(value("freeze")) === "on"),
  };
}

/** @throws Error that names the invalid parameter and its fault */
function named<T>(name: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    const why = error instanceof z.ZodError ? z.prettifyError(error) : String(error);
    throw new Error(`SSM parameter ${path}/${name} is invalid: ${why}`, { cause: error });
  }
}

/** The stage's Ed25519 public keys by KMS key id, for callers that have no permission to use KMS. */
export async function readPublicKeys(): Promise<PublicKeys> {
  const { Parameters = [] } = await client.send(new GetParametersCommand({ Names: [`${path}/public-keys`] }));
  return parseKeys(z.record(z.string(), z.string()).parse(JSON.parse(Parameters[0]?.Value ?? "{}")));
}

const Structures = z.record(z.string(), z.string());
const Mode = z.enum(["monitor", "enforce"]);
const Freeze = z.enum(["on", "off"]);

export function cellOf(fleet: Fleet, name: string) {
  const cell = fleet.cells.find((candidate) => candidate.name === name);
  if (cell === undefined)
    throw new Error(`cell ${name} is not in the fleet (${fleet.cells.map((c) => c.name).join(", ")})`);
  return cell;
}
