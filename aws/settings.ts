import { GetParametersCommand, type Parameter, paginateGetParameterHistory, SSMClient } from "@aws-sdk/client-ssm";
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
    LANDFALL_REPORTS_TABLE: z.string(),
    LANDFALL_ROLLOUTS_TABLE: z.string(),
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
  /** Parameters whose newest version is invalid. The newest valid version of each is used. */
  invalid: InvalidSetting[];
}

export interface InvalidSetting {
  name: string;
  version: number;
  reason: string;
  /** The version in use. */
  usedVersion: number;
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

const Structures = z.record(z.string(), z.string());
const parsers = {
  fleet: (text: string) => Fleet.parse(JSON.parse(text)),
  structures: (text: string) => Structures.parse(JSON.parse(text)),
  mode: (text: string) => z.enum(["monitor", "enforce"]).parse(text),
  freeze: (text: string) => z.enum(["on", "off"]).parse(text),
};
type SettingName = keyof typeof parsers;
type Setting<Name extends SettingName> = ReturnType<(typeof parsers)[Name]>;

const names = Object.keys(parsers) as SettingName[];

async function readSettings(): Promise<Settings> {
  const { Parameters = [] } = await client.send(
    new GetParametersCommand({ Names: names.map((name) => `${path}/${name}`) }),
  );
  const invalid: InvalidSetting[] = [];
  const setting = async <Name extends SettingName>(name: Name): Promise<Setting<Name>> => {
    const newest = Parameters.find((candidate) => candidate.Name === `${path}/${name}`);
    if (newest === undefined) throw new Error(`SSM parameter ${path}/${name} is missing: deploy the stage again`);
    const parsed = parse(name, newest);
    if (parsed.ok) return parsed.value;
    const { version, value } = await newestValid(name, newest);
    invalid.push({ name: `${path}/${name}`, version: newest.Version!, reason: parsed.reason, usedVersion: version });
    return value;
  };
  const [fleet, structures, mode, freeze] = await Promise.all([
    setting("fleet"),
    setting("structures"),
    setting("mode"),
    setting("freeze"),
  ]);
  return { fleet, structures, mode, frozen: freeze === "on", invalid: invalid.sort(byName) };
}

const byName = (a: InvalidSetting, b: InvalidSetting) => (a.name < b.name ? -1 : 1);

type Parsed<Name extends SettingName> = { ok: true; value: Setting<Name> } | { ok: false; reason: string };

function parse<Name extends SettingName>(name: Name, { Value = "" }: Parameter): Parsed<Name> {
  try {
    return { ok: true, value: parsers[name](Value) as Setting<Name> };
  } catch (error) {
    const reason = error instanceof z.ZodError ? z.prettifyError(error) : String(error);
    return { ok: false, reason: reason.slice(0, clientLimits.settingReasonCharactersMax) };
  }
}

/** The newest valid version before an invalid one, by name and invalid version: a version never changes. */
const found = new Map<string, Promise<{ version: number; value: unknown }>>();

function newestValid<Name extends SettingName>(
  name: Name,
  invalid: Parameter,
): Promise<{ version: number; value: Setting<Name> }> {
  const key = `${name} ${invalid.Version}`;
  const search = found.get(key) ?? searchHistory(name, invalid);
  found.set(key, search);
  search.catch(() => found.delete(key));
  return search as Promise<{ version: number; value: Setting<Name> }>;
}

/** @throws Error that names the parameter and its fault when no earlier version is valid either */
async function searchHistory(name: SettingName, invalid: Parameter) {
  let newest: { version: number; value: unknown } | undefined;
  for await (const { Parameters = [] } of paginateGetParameterHistory({ client }, { Name: `${path}/${name}` }))
    for (const version of Parameters) {
      const parsed = parse(name, version);
      if (parsed.ok) newest = { version: version.Version!, value: parsed.value }; // the oldest version comes first
    }
  if (newest !== undefined) return newest;
  const { reason } = parse(name, invalid) as { reason: string };
  throw new Error(`SSM parameter ${path}/${name} is invalid, and so is each earlier version: ${reason}`);
}

/** The stage's Ed25519 public keys by KMS key id, for callers that have no permission to use KMS. */
export async function readPublicKeys(): Promise<PublicKeys> {
  const { Parameters = [] } = await client.send(new GetParametersCommand({ Names: [`${path}/public-keys`] }));
  return parseKeys(z.record(z.string(), z.string()).parse(JSON.parse(Parameters[0]?.Value ?? "{}")));
}

export function cellOf(fleet: Fleet, name: string) {
  const cell = fleet.cells.find((candidate) => candidate.name === name);
  if (cell === undefined)
    throw new Error(`cell ${name} is not in the fleet (${fleet.cells.map((c) => c.name).join(", ")})`);
  return cell;
}
