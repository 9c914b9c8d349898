/**
 * `npm run models [-- NAME]`: spin explores every schedule of each model, and must find each of the faults that its header
 * names. Prints a line of JSON for each. Exit code 1 when a law is broken, or when a fault is not found.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { Command } from "commander";

const minutesMax = 10;
const memoryMaxMb = 6000;
const depthMax = 200_000;

interface Checked {
  errors: number;
  states: number;
  depth: number;
  seconds: number;
}

/** @throws Error when a program fails, or when spin does not get to the end */
function check(file: string, fault?: string): Checked {
  const dir = mkdtempSync(path.join(os.tmpdir(), "landfall-model-"));
  const run = (program: string, ...args: string[]): string => {
    const done = spawnSync(program, args, { cwd: dir, encoding: "utf8", timeout: minutesMax * 60_000 });
    if (done.error !== undefined || done.status !== 0)
      throw new Error(`${program} ${args.join(" ")}: ${done.error?.message ?? ""}\n${done.stdout}\n${done.stderr}`);
    return done.stdout;
  };
  try {
    const began = performance.now();
    run("spin", ...(fault === undefined ? [] : [`-D${fault}`]), "-a", file);
    run("gcc", "-w", "-O2", "-DSAFETY", `-DMEMLIM=${memoryMaxMb}`, "-o", "pan", "pan.c");
    const said = run("./pan", `-m${depthMax}`);
    const number = (pattern: RegExp) => Number(pattern.exec(said)?.[1]);
    const [errors, states, depth] = [/errors: (\d+)/, /([\d.e+]+) states, stored/, /depth reached (\d+)/].map(number);
    const isCut = /max search depth too small|search not completed|out of memory|memory limit/i.test(said);
    if (errors === undefined || Number.isNaN(errors) || (errors === 0 && isCut)) throw new Error(said);
    return { errors, states: states!, depth: depth!, seconds: Math.round((performance.now() - began) / 1000) };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** The faults that a model's header names. */
const faultsOf = (text: string) => [...text.matchAll(/^ \*(?: Faults)? +(FAULT_\w+)/gm)].map((match) => match[1]!);

const {
  args: [wanted = ""],
} = new Command("npm run models --")
  .description(
    "Explores every schedule of the models in test/models, and of each of their faults, which must be found.",
  )
  .argument("[name]", "only models whose names begin so")
  .parse();
const models = readdirSync(import.meta.dirname).filter((name) => name.endsWith(".pml") && name.startsWith(wanted));
if (models.length === 0) throw new Error(`no model has a name that begins with ${wanted}`);
for (const model of models) {
  const file = path.join(import.meta.dirname, model);
  const sound = check(file);
  console.log(JSON.stringify({ model, ...sound }));
  if (sound.errors > 0) process.exitCode = 1;
  const faults = faultsOf(readFileSync(file, "utf8"));
  if (faults.length === 0) throw new Error(`${model} names no fault`);
  for (const fault of faults) {
    const { errors, states, depth } = check(file, fault);
    console.log(JSON.stringify({ model, fault, found: errors > 0, states, depth }));
    if (errors === 0) process.exitCode = 1;
  }
}
