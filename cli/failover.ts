/** `landfall pin`, `unpin` and `explain`: what an operator wants of an edge or a region, and why failover did what it did. */
import pc from "picocolors";
import type { Decision } from "../core/failover/decide.ts";
import { endpointsIn, type Observed } from "../core/failover/model.ts";
import { type Pin, pinFault } from "../core/failover/pins.ts";
import { concerns, type DecisionRecord, inWords, pinInWords, timeOf } from "../core/failover/record.ts";
import { callerArn } from "./caller.ts";
import { UsageError } from "./connect.ts";

export interface PinOptions {
  weight?: string;
  dial?: string;
  out?: boolean;
  for: string;
  why: string;
  cell?: string;
}

const minuteMs = 60_000;
const units: Record<string, number> = { m: minuteMs, h: 60 * minuteMs, d: 24 * 60 * minuteMs };

/** Milliseconds of `90m` or `2h`; NaN of anything else. */
export function durationOf(text: string): number {
  const [, count, unit = ""] = /^(\d{1,5})([mhd])$/.exec(text) ?? [];
  return Number(count) * (units[unit] ?? Number.NaN);
}

type Kind = Pin["kind"];

/** Pins an edge or a region. @throws UsageError when it can't be pinned so */
export async function setPin(kind: string, target: string, options: PinOptions): Promise<void> {
  const { savePin } = await import("../aws/ledger/failover.ts");
  const subject = kindOf(kind);
  const value = pinnedValue(subject, options);
  const cell = await cellOfTarget(subject, target, options.cell);
  const at = Date.now();
  const until = at + durationOf(options.for);
  const pin: Pin = { kind: subject, target, value, at, until, by: await callerArn(), why: options.why };
  const fault = pinFault(pin);
  if (fault !== undefined) throw new UsageError(fault);
  await savePin(cell, pin);
  console.log(pinInWords(pin));
  await evaluateNow(cell);
}

export async function endPin(kind: string, target: string, { cell: wanted }: { cell?: string }): Promise<void> {
  const { removePin } = await import("../aws/ledger/failover.ts");
  const subject = kindOf(kind);
  const cell = await cellOfTarget(subject, target, wanted);
  if (!(await removePin(cell, subject, target))) throw new UsageError(`${target} is not pinned in cell ${cell}`);
  console.log(`${target} is not pinned any more: it returns in steps`);
  await evaluateNow(cell);
}

function kindOf(kind: string): Kind {
  if (kind !== "edge" && kind !== "region")
    throw new UsageError(`${kind} is neither \`edge\` nor \`region\`, as in: landfall pin region eu-west-3 --out`);
  return kind;
}

function pinnedValue(kind: Kind, { weight, dial, out = false }: PinOptions): number {
  const [given, other, name] = kind === "edge" ? [weight, dial, "--weight"] : [dial, weight, "--dial"];
  if (other !== undefined) throw new UsageError(`an edge has a --weight, and a region has a --dial`);
  if (out === (given !== undefined)) throw new UsageError(`give ${name} or --out`);
  return out ? 0 : Number(given);
}

/** The cell of an edge or, where several cells have a region, the one that is named. */
export async function cellOfTarget(kind: Kind, target: string, wanted: string | undefined): Promise<string> {
  const { loadSettings } = await import("../aws/settings.ts");
  const { readSummaries } = await import("../aws/ledger/edges.ts");
  const { cells } = (await loadSettings()).fleet;
  const named = cells.filter(({ name }) => wanted === undefined || name === wanted);
  if (named.length === 0)
    throw new UsageError(`there is no cell ${wanted}: ${cells.map(({ name }) => name).join(", ")}`);
  const found: string[] = [];
  for (const { name, regions } of named)
    if (kind === "region" ? regions.includes(target) : (await readSummaries(name)).some((one) => one.edgeId === target))
      found.push(name);
  if (found.length === 0) throw new UsageError(`no cell has the ${kind} ${target}: \`landfall status\` lists them`);
  if (found.length > 1) throw new UsageError(`several cells have ${target}: name one with --cell ${found.join("|")}`);
  return found[0]!;
}

/** Starts an evaluation. Without it, the next audit makes one within a minute. */
export async function evaluateNow(cell: string): Promise<void> {
  const { startExecution } = await import("../aws/workflows.ts");
  const { environment, loadSettings } = await import("../aws/settings.ts");
  const { homeRegion } = (await loadSettings()).fleet;
  const account = (await callerArn()).split(":")[4];
  const machine = `arn:aws:states:${homeRegion}:${account}:stateMachine:landfall-${environment.LANDFALL_STAGE}-failover`;
  await startExecution(machine, `operator-${Date.now()}`, { cell });
}

export interface ExplainView {
  cell: string;
  at: number;
  /** What failover decides on what it sees now; absent with --at. */
  now?: Pick<Decision, "beliefs" | "regions" | "held" | "drift" | "model" | "changes" | "unwritten"> & {
    pins: Pin[];
    mode: string;
  };
  observed?: Observed;
  /** Records that concern the target, newest first. */
  records: DecisionRecord[];
}

const recordsRead = 200;
const recordsShown = 10;

export async function viewFailover(
  what: string,
  target: string,
  { at: atText, cell: wanted }: { at?: string; cell?: string },
): Promise<ExplainView> {
  const { evaluateFailover } = await import("../control/failover/evaluate.ts");
  const { readRecords } = await import("../aws/ledger/failover.ts");
  const { loadSettings } = await import("../aws/settings.ts");
  const at = atText === undefined ? Date.now() : Date.parse(atText);
  if (Number.isNaN(at)) throw new UsageError(`${atText} is not a time, as in --at 2026-11-28T14:04:31Z`);
  const isCell = what === "cell";
  const { cells } = (await loadSettings()).fleet;
  if (isCell && !cells.some(({ name }) => name === target)) throw new UsageError(`there is no cell ${target}`);
  const cell = isCell ? target : await cellOfTarget(kindOf(what), target, wanted);
  const subject = isCell ? undefined : target;
  const all = await readRecords(cell, at, recordsRead);
  const records = all.filter((record) => concerns(record, subject));
  if (atText !== undefined) return { cell, at, records: records.slice(0, 1) };
  const { decision, observed, pins, mode } = await evaluateFailover(cell);
  const { beliefs, regions, held, drift, model, changes, unwritten } = decision;
  const now = { beliefs, regions, held, drift, model, changes, unwritten, pins, mode };
  return { cell, at, now, observed, records: records.slice(0, recordsShown) };
}

export async function explainFailover(
  what: string,
  target: string,
  options: { at?: string; cell?: string; json?: boolean },
): Promise<void> {
  const view = await viewFailover(what, target, options);
  if (options.json === true) return console.log(JSON.stringify(view));
  const subject = what === "cell" ? undefined : target;
  if (view.now !== undefined) for (const line of nowInWords(view, subject)) console.log(line);
  if (view.records.length === 0) return console.log("no decision about it is on record");
  for (const record of view.records) {
    console.log(pc.bold(timeOf(record.at)));
    for (const line of inWords(record, subject)) console.log(`  ${line}`);
  }
}

/** What is so now, in sentences: of one edge or region, or of a cell. */
function nowInWords({ cell, now, observed }: ExplainView, target: string | undefined): string[] {
  const { beliefs, regions, held, drift, pins, model, changes, unwritten, mode } = now!;
  const present = endpointsIn(observed!);
  const isMeant = (name: string, region: string) => target === undefined || name === target || region === target;
  const edges = beliefs.filter(({ edgeId, region }) => isMeant(edgeId, region));
  const shown = edges.map(({ edgeId, region }) => {
    const endpoint = present.get(edgeId);
    const is =
      endpoint === undefined ? "is not in the accelerator" : `has weight ${endpoint.weight} and is ${endpoint.health}`;
    return `${edgeId} (${region}) ${is}`;
  });
  const dials = observed!.groups
    .filter(({ region }) => isMeant(region, region) || edges.some((edge) => edge.region === region))
    .map(({ region, dial }) => `${region} has dial ${dial} %`);
  const decided = inWords(
    {
      cell,
      at: 0,
      mode: mode as DecisionRecord["mode"],
      before: observed!,
      beliefs,
      regions,
      pins,
      wanted: model,
      held,
      drift,
      changes: [...changes, ...unwritten],
    },
    target,
  ).map((line) => (/: .* → /.test(line) ? `next: ${line}` : line));
  return [...dials, ...shown, ...decided];
}
