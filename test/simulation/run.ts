/** Runs seeds, and shrinks the script of a failure. */
import type { Code } from "./functions.ts";
import type { RareState } from "./reached.ts";
import { type Script, scriptOf } from "./script.ts";
import { type Outcome, Simulation } from "./simulation.ts";

export const simulate = (script: Script, code: Code): Promise<Outcome> => new Simulation(script, code).run();

const lawOf = (breach: string) => breach.split(":")[0]!;

/** Shrinks the script: removes happenings as long as the same law is broken. */
export async function shrink(
  script: Script,
  breach: string,
  code: Code,
): Promise<{ script: Script; outcome: Outcome }> {
  let best = script;
  let outcome = await simulate(script, code);
  for (let size = Math.ceil(script.happenings.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2))
    for (let from = 0; from < best.happenings.length; ) {
      const happenings = [...best.happenings.slice(0, from), ...best.happenings.slice(from + size)];
      const tried = await simulate({ ...best, happenings }, code);
      if (tried.breach !== undefined && lawOf(tried.breach) === lawOf(breach)) {
        best = { ...best, happenings };
        outcome = tried;
      } else from += size;
    }
  return { script: best, outcome };
}

/** The first seed of these that fails, with the shortest history found; undefined when all pass. Counts rare states. */
export async function findBreach(seeds: Iterable<number>, code: Code, reached = new Map<RareState, number>()) {
  for (const seed of seeds) {
    const script = scriptOf(seed);
    const { breach, reached: states } = await simulate(script, code);
    for (const [state, times] of states) reached.set(state, (reached.get(state) ?? 0) + times);
    if (breach === undefined) continue;
    const shrunk = await shrink(script, breach, code);
    return { seed, breach: shrunk.outcome.breach ?? breach, history: shrunk.outcome.history };
  }
  return undefined;
}
