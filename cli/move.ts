/** `landfall evacuate`, `restore` and `drain`: moves users on purpose. A plan first, then the same plan by its hash. */
import pc from "picocolors";
import { foresee, type MovePlan, planInWords } from "../core/failover/foresee.ts";
import { type Pin, pinFault } from "../core/failover/pins.ts";
import { failoverLimits } from "../schemas/limits.ts";
import { callerArn } from "./caller.ts";
import { UsageError } from "./connect.ts";
import { cellOfTarget, durationOf, evaluateNow } from "./failover.ts";

export interface MoveOptions {
  for?: string;
  why?: string;
  cell?: string;
  yes?: string;
  json?: boolean;
}

/** Exit codes: 0 done, 1 failed, 2 it would change something. */
const wouldChange = 2;

type Move = { kind: Pin["kind"]; target: string; isBack: boolean };

/** No new users for a region, or for an edge, until the pin ends. Sessions go on until they end by themselves. */
export const evacuate = (region: string, options: MoveOptions) =>
  move({ kind: "region", target: region, isBack: false }, options);
export const drainEdge = (edgeId: string, options: MoveOptions) =>
  move({ kind: "edge", target: edgeId, isBack: false }, options);
/** Ends the pin of a region or an edge: it returns in steps. */
export const restore = (kind: Pin["kind"], target: string, options: MoveOptions) =>
  move({ kind, target, isBack: true }, options);

async function move({ kind, target, isBack }: Move, options: MoveOptions): Promise<void> {
  const { readFacts } = await import("../control/failover/evaluate.ts");
  const { removePin, savePin } = await import("../aws/ledger/failover.ts");
  const cell = await cellOfTarget(kind, target, options.cell);
  const { facts } = await readFacts(cell);
  const others = facts.pins.filter((pin) => pin.kind !== kind || pin.target !== target);
  const pin = isBack ? undefined : await pinFor(kind, target, options, facts.now);
  if (isBack && others.length === facts.pins.length)
    throw new UsageError(`${target} is not pinned: nothing keeps it out`);
  const plan = foresee(facts, pin === undefined ? others : [...others, pin]);
  const stops = isBack ? undefined : plan.held.find((held) => held.target === target || held.target === "the cell");
  if (options.yes === undefined || options.yes !== plan.hash || stops !== undefined) {
    show(plan, options.json === true);
    if (stops !== undefined) throw new UsageError(`not done: a rail holds it: ${stops.why}`);
    if (options.yes !== undefined)
      throw new UsageError(
        `not done: the world has moved since plan ${options.yes}. Look at plan ${plan.hash} and say --yes ${plan.hash}`,
      );
    if (options.json !== true) console.log(pc.yellow(`nothing is done yet: to do it, say --yes ${plan.hash}`));
    process.exitCode = wouldChange;
    return;
  }
  if (pin === undefined) await removePin(cell, kind, target);
  else await savePin(cell, pin);
  await evaluateNow(cell);
  const reached = await shown(cell, kind, target, isBack);
  if (options.json === true) console.log(JSON.stringify({ cell, kind, target, hash: plan.hash, reached }));
  else if (reached)
    console.log(
      isBack
        ? `${target} is on its way back`
        : `${target} gets no new users any more; its sessions go on until they end`,
    );
  if (reached) return;
  throw new Error(
    `the accelerator does not show it after ${failoverLimits.shownWithinMs / 1000} s: see \`landfall explain ${kind} ${target}\``,
  );
}

async function pinFor(kind: Pin["kind"], target: string, options: MoveOptions, at: number): Promise<Pin> {
  const until = at + durationOf(options.for ?? "");
  const pin: Pin = { kind, target, value: 0, at, until, by: await callerArn(), why: options.why ?? "" };
  const fault = pinFault(pin);
  if (fault !== undefined) throw new UsageError(fault);
  return pin;
}

function show(plan: MovePlan, asJson: boolean): void {
  if (asJson) return console.log(JSON.stringify(plan));
  for (const line of planInWords(plan)) console.log(line);
}

/** Whether the accelerator shows it, after a while: out of users, or with some again. */
async function shown(cell: string, kind: Pin["kind"], target: string, isBack: boolean): Promise<boolean> {
  const { readFacts } = await import("../control/failover/evaluate.ts");
  for (const until = Date.now() + failoverLimits.shownWithinMs; Date.now() < until; ) {
    const { groups } = (await readFacts(cell)).facts.observed;
    const value =
      kind === "region"
        ? groups.find(({ region }) => region === target)?.dial
        : groups.flatMap(({ endpoints }) => endpoints).find(({ edgeId }) => edgeId === target)?.weight;
    if (isBack ? (value ?? 0) > 0 : value === 0) return true;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  return false;
}
