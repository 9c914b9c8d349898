/** `npm run simulate -- --seeds N [--from S] [--mutant TEXT]`: N seeded simulations; the first that fails is shrunk and printed. */
import { Command, InvalidArgumentError } from "commander";
import { bundle } from "./functions.ts";
import { mutants } from "./mutants.ts";
import { type RareState, rareStates } from "./reached.ts";
import { findBreach } from "./run.ts";

const whole = (least: number) => (text: string) => {
  if (!/^\d+$/.test(text) || Number(text) < least) throw new InvalidArgumentError(`Use a whole number from ${least}.`);
  return Number(text);
};
const values = new Command("npm run simulate --")
  .description("Runs seeded simulations of the control plane. The first that breaks a law is shrunk and printed.")
  .option("--seeds <number>", "how many", whole(1), 1000)
  .option("--from <seed>", "the first one", whole(0), 1)
  .option("--mutant <text>", "with a change to the code, by a part of its name, that must break a law")
  .parse()
  .opts<{ seeds: number; from: number; mutant?: string }>();
const { seeds: count, from } = values;
const mutant = values.mutant === undefined ? undefined : mutants.find(({ name }) => name.includes(values.mutant!));
if (values.mutant !== undefined && mutant === undefined) {
  console.error(`--mutant matches none of:\n${mutants.map(({ name }) => `  ${name}`).join("\n")}`);
  process.exit(2);
}
const code = await bundle(mutant);
const started = performance.now();
const seeds = Array.from({ length: count }, (_, index) => from + index);
const reached = new Map<RareState, number>();
const found = await findBreach(seeds, code, reached);
const seconds = ((performance.now() - started) / 1000).toFixed(1);
if (found === undefined) {
  const states = Object.fromEntries(rareStates.map((state) => [state, reached.get(state) ?? 0]));
  console.log(JSON.stringify({ seeds: count, from, breaches: 0, seconds: Number(seconds), reached: states }));
} else {
  console.log(`seed ${found.seed}: ${found.breach}\n${found.history.join("\n")}`);
  process.exitCode = 1;
}
