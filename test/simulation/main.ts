/** `npm run simulate -- --seeds N [--from S] [--mutant TEXT]`: N seeded simulations; the first that fails is shrunk and printed. */
import { parseArgs } from "node:util";
import { bundle } from "./functions.ts";
import { mutants } from "./mutants.ts";
import { findBreach } from "./run.ts";

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "1000" },
    from: { type: "string", default: "1" },
    mutant: { type: "string" },
  },
});
const [count, from] = [Number(values.seeds), Number(values.from)];
if (!Number.isInteger(count) || count < 1 || !Number.isInteger(from)) {
  console.error("--seeds and --from are whole numbers, as in --seeds 1000 --from 1");
  process.exit(2);
}
const mutant = values.mutant === undefined ? undefined : mutants.find(({ name }) => name.includes(values.mutant!));
if (values.mutant !== undefined && mutant === undefined) {
  console.error(`--mutant names none of:\n${mutants.map(({ name }) => `  ${name}`).join("\n")}`);
  process.exit(2);
}
const code = await bundle(mutant);
const started = performance.now();
const seeds = Array.from({ length: count }, (_, index) => from + index);
const found = await findBreach(seeds, code);
const seconds = ((performance.now() - started) / 1000).toFixed(1);
if (found === undefined) console.log(JSON.stringify({ seeds: count, from, breaches: 0, seconds: Number(seconds) }));
else {
  console.log(`seed ${found.seed}: ${found.breach}\n${found.history.join("\n")}`);
  process.exitCode = 1;
}
