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

/** The history, with what repeats told once. */
export function storyOf(history: string[]): string[] {
  const told = new Map<string, { at: number; times: number; last: string }>();
  const lines: { text: string; what: string }[] = [];
  for (const text of history) {
    const [, time, what] = /^ *(\d+) (.*)$/.exec(text)!;
    const before = told.get(what!);
    if (before === undefined) {
      told.set(what!, { at: lines.length, times: 1, last: time! });
      lines.push({ text, what: what! });
    } else {
      before.times++;
      before.last = time!;
    }
  }
  return lines.map(({ text, what }) => {
    const { times, last } = told.get(what)!;
    return times === 1 ? text : `${text} (${times} times, the last at ${last})`;
  });
}

/** The first seed of these that fails, with the shortest history found; undefined when all pass. Counts rare states. */
export async function findBreach(seeds: Iterable<number>, code: Code, reached = new Map<RareState, number>()) {
  for (const seed of seeds) {
    const script = scriptOf(seed);
    const { breach, reached: states } = await simulate(script, code);
    for (const [state, times] of states) reached.set(state, (reached.get(state) ?? 0) + times);
    if (breach === undefined) continue;
    const shrunk = await shrink(script, breach, code);
    return { seed, breach: shrunk.outcome.breach ?? breach, history: storyOf(shrunk.outcome.history) };
  }
  return undefined;
}
