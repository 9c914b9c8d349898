/**
 * `npm run simulate -- --seeds N [--from S] [--mutant TEXT]`: N seeded simulations; the first that fails is shrunk and
 * printed. `-- --schedules BOUND`: every schedule of a small world up to a bound.
 */
import { Command, InvalidArgumentError } from "commander";
import { bundle } from "./functions.ts";
import { mutants } from "./mutants.ts";
import { type RareState, rareStates } from "./reached.ts";
import { findBreach } from "./run.ts";
import { explore } from "./schedules.ts";

const whole = (least: number) => (text: string) => {
  if (!/^\d+$/.test(text) || Number(text) < least) throw new InvalidArgumentError(`Use a whole number from ${least}.`);
  return Number(text);
};
const values = new Command("npm run simulate --")
  .description("Runs seeded simulations of the control plane. The first that breaks a law is shrunk and printed.")
  .option("--seeds <number>", "how many", whole(1), 1000)
  .option("--from <seed>", "the first one", whole(0), 1)
  .option(
    "--schedules <bound>",
    "instead: every schedule of two publishers, two tenants and one edge that costs so much",
    whole(0),
  )
  .option("--mutant <text>", "with a change to the code, by a part of its name, that must break a law")
  .parse()
  .opts<{ seeds: number; from: number; schedules?: number; mutant?: string }>();
const { seeds: count, from } = values;
const mutant = values.mutant === undefined ? undefined : mutants.find(({ name }) => name.includes(values.mutant!));
if (values.mutant !== undefined && mutant === undefined) {
  console.error(`--mutant matches none of:\n${mutants.map(({ name }) => `  ${name}`).join("\n")}`);
  process.exit(2);
}
const code = await bundle(mutant);
const started = performance.now();
const seconds = () => Number(((performance.now() - started) / 1000).toFixed(1));
if (values.schedules !== undefined) await runSchedules(values.schedules);
else await runSeeds();

async function runSeeds(): Promise<void> {
  const seeds = Array.from({ length: count }, (_, index) => from + index);
  const reached = new Map<RareState, number>();
  const found = await findBreach(seeds, code, reached);
  if (found === undefined) {
    const states = Object.fromEntries(rareStates.map((state) => [state, reached.get(state) ?? 0]));
    console.log(JSON.stringify({ seeds: count, from, breaches: 0, seconds: seconds(), reached: states }));
  } else {
    console.log(`seed ${found.seed}: ${found.breach}\n${found.history.join("\n")}`);
    process.exitCode = 1;
  }
}

/** A publisher that dies or hangs is part of those that cost one less. */
async function runSchedules(bound: number): Promise<void> {
  const { schedules, choices, breach } = await explore(code, bound, Math.max(bound - 1, 0));
  console.log(JSON.stringify({ schedules, choices, breaches: breach === undefined ? 0 : 1, seconds: seconds() }));
  if (breach === undefined) return;
  console.log(
    `${breach.what}\n${JSON.stringify({ fault: breach.fault, path: breach.path })}\n${breach.history.join("\n")}`,
  );
  process.exitCode = 1;
}
