/** `npm run bench [name] [--seconds N] [--profile none|aws] [--tenants N] [--peer NAME]`: prints figures as JSON lines, and writes docs/benchmarks.md. */
import { parseArgs } from "node:util";
import { apply } from "./apply.ts";
import { churn } from "./churn.ts";
import { datapath } from "./datapath.ts";
import { Figures } from "./figures.ts";
import { onboarding } from "./onboarding.ts";
import { propagation } from "./propagation.ts";
import { publish } from "./publish.ts";

interface Options {
  seconds: number;
  tenants: number;
  profile: "none" | "aws";
  peer: string | undefined;
}
const benches = {
  propagation,
  onboarding,
  publish,
  datapath: ({ profile, peer }: Options) => datapath(new Figures("datapath", profile), peer),
  churn: ({ profile, seconds, peer }: Options) => churn(new Figures("churn", profile), seconds, peer),
  apply: ({ profile }: Options) => apply(new Figures("apply", profile)),
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: "string", default: "60" },
    tenants: { type: "string", default: "10000" },
    profile: { type: "string", default: "none" },
    peer: { type: "string" },
  },
});
const asked = positionals.length > 0 ? positionals : Object.keys(benches);
const unknown = asked.find((name) => !Object.hasOwn(benches, name));
const [seconds, tenants] = [Number(values.seconds), Number(values.tenants)];
const { profile } = values;
if (unknown !== undefined) fail(`there is no bench ${unknown}: use one of ${Object.keys(benches).join(", ")}`);
if (!(seconds > 0 && tenants > 100)) fail("--seconds must be above 0, and --tenants above 100");
if (profile !== "none" && profile !== "aws") fail("--profile must be none or aws");

for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(130));
for (const name of asked)
  await benches[name as keyof typeof benches]({
    seconds,
    tenants,
    profile: profile as "none" | "aws",
    peer: values.peer,
  });

function fail(message: string): never {
  console.error(message);
  process.exit(2);
}
