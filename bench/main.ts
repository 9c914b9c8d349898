/** `npm run bench`: see `npm run bench -- --help`. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { Argument, Command, InvalidArgumentError } from "commander";
import type { FaultRates } from "../local/faults.ts";
import { profileOption, rateOption } from "../local/options.ts";
import { apply } from "./apply.ts";
import { churn } from "./churn.ts";
import { datapath } from "./datapath.ts";
import { engine } from "./engine.ts";
import { Figures } from "./figures.ts";
import type { CloudOptions } from "./fleet.ts";
import { hostile } from "./hostile.ts";
import { neighbour } from "./neighbour.ts";
import { onboarding } from "./onboarding.ts";
import { propagation } from "./propagation.ts";
import { publish } from "./publish.ts";
import { routes } from "./routes.ts";
import { scale } from "./scale.ts";

const benches = {
  propagation,
  onboarding,
  publish,
  neighbour,
  scale,
  engine,
  datapath: ({ profile, peer }: Options) => datapath(new Figures("datapath", profile), peer),
  churn: ({ profile, seconds, peer }: Options) => churn(new Figures("churn", profile), seconds, peer),
  apply: ({ profile }: Options) => apply(new Figures("apply", profile)),
  hostile: ({ profile, peer }: Options) => hostile(new Figures("hostile", profile), peer),
  routes: ({ profile }: Options) => routes(new Figures("routes", profile)),
};
type BenchName = keyof typeof benches;

const from = (least: number) => (text: string) => {
  if (!(Number(text) >= least)) throw new InvalidArgumentError(`Use a number from ${least}.`);
  return Number(text);
};
interface Options extends CloudOptions {
  seconds: number;
  tenants: number;
  write?: boolean;
  peer?: string;
}
const command = new Command("npm run bench --")
  .description("Prints figures as lines of JSON. The exit status is 1 if a target is missed.")
  .addArgument(
    new Argument("[name...]", "which ones; all that the profile changes when absent").choices(Object.keys(benches)),
  )
  .option("--write", "also write the figures to docs/benchmarks.md")
  .option("--seconds <number>", "how long propagation and churn write", from(1), 60)
  .option("--tenants <number>", "how many tenants onboarding and publish write", from(101), 10_000)
  .addOption(profileOption())
  .addOption(rateOption())
  .option("--peer <name>", "which peer datapath, churn and hostile compare with")
  .parse();
const { rate: rates, write = false, ...options } = command.opts<Options & { rate: Partial<FaultRates> }>();
Figures.writes = write;
/** The other benches run no cloud: a profile changes nothing in them. */
const onTheCloud: BenchName[] = ["propagation", "onboarding", "publish", "neighbour"];
const all = options.profile === "none" ? Object.keys(benches) : onTheCloud;
const asked = command.args.length > 0 ? command.args : all;

let child: ChildProcess | undefined;
for (const signal of ["SIGINT", "SIGTERM"] as const)
  process.once(signal, () => {
    child?.kill(signal);
    process.exit(130);
  });
const [only] = asked;
if (asked.length === 1) await benches[only as BenchName]({ ...options, rates });
else for (const name of asked) if (!(await runAlone(name))) process.exitCode = 1;

/** In a process of its own: one bench leaves neither clients nor compiled code to the next. */
async function runAlone(name: string): Promise<boolean> {
  const flags = process.argv.slice(2).filter((text) => !command.args.includes(text));
  child = spawn(process.execPath, [import.meta.filename, name, ...flags], { stdio: "inherit" });
  const [code] = (await once(child, "exit")) as [number | null];
  return code === 0;
}
