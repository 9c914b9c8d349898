/** Explores every schedule of the small world up to a bound, with and without a publisher that dies or hangs. */
import type { Code } from "./functions.ts";
import { type Choice, type Fault, runSmall } from "./small-world.ts";

export interface Explored {
  schedules: number;
  /** The most choices that one schedule had. */
  choices: number;
  breach?: { what: string; history: string[]; fault: Fault | undefined; path: number[] };
}

/**
 * A step that is taken before others which were ready earlier costs one for each of these. Schedules that cost at most
 * `bound` are explored; with a fault, which may come at each call of a publisher, those that cost at most `faultBound`.
 */
export async function explore(code: Code, bound: number, faultBound: number): Promise<Explored> {
  const found: Explored = { schedules: 0, choices: 0 };
  const { calls } = await runSmall([], undefined, code);
  const faults = Array.from({ length: calls }, (_, skip): Fault[] => [
    { kind: "crash", skip, effect: false },
    { kind: "crash", skip, effect: true },
    { kind: "stall", skip },
  ]);
  for (const fault of [undefined, ...faults.flat()]) {
    await exploreWith(fault, code, fault === undefined ? bound : faultBound, found);
    if (found.breach !== undefined) return found;
  }
  return found;
}

async function exploreWith(fault: Fault | undefined, code: Code, bound: number, found: Explored): Promise<void> {
  const paths: number[][] = [[]];
  for (let path = paths.pop(); path !== undefined; path = paths.pop()) {
    const { breach, history, choices } = await runSmall(path, fault, code);
    found.schedules++;
    found.choices = Math.max(found.choices, choices.length);
    if (breach !== undefined) {
      found.breach = { what: breach, history, fault, path };
      return;
    }
    paths.push(...next(path, choices, bound));
  }
}

/** The paths that deviate from this one at one later choice, and cost at most `bound`. */
function next(path: number[], choices: Choice[], bound: number): number[][] {
  const cost = path.reduce((sum, taken) => sum + taken, 0);
  return choices.flatMap(({ options }, at) => {
    if (at < path.length) return [];
    const most = Math.min(options - 1, bound - cost);
    return Array.from({ length: Math.max(most, 0) }, (_, index) => [
      ...choices.slice(0, at).map(({ taken }) => taken),
      index + 1,
    ]);
  });
}
