/** Options of commands that boot a cloud. */
import { InvalidArgumentError, Option } from "commander";
import { type FaultRates, harsh, parseRate } from "./faults.ts";
import { profiles } from "./latency.ts";

export const profileOption = () =>
  new Option("--profile <name>", "none adds nothing, aws AWS's latencies, harsh faults too")
    .choices(Object.keys(profiles))
    .default("none");

export const rateOption = () =>
  new Option("--rate <name=share>", `how often a fault happens, repeatable: ${Object.keys(harsh).join(", ")}`)
    .argParser((text, before: Partial<FaultRates>) => {
      try {
        return parseRate(text, before);
      } catch (error) {
        throw new InvalidArgumentError((error as Error).message);
      }
    })
    .default({}, "those of the profile");
