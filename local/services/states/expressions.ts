/** Evaluates JSONata: templates of values and `{% expressions %}`, with $states, variables, and AWS's own functions. */
import { createHash, randomUUID } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import jsonata, { type Expression } from "jsonata";
import { Random } from "../../random.ts";
import { isExpression } from "./language.ts";

/** An error with the name that Retry and Catch match. */
export class StatesError extends Error {
  override readonly name: string;
  constructor(name: string, cause: string) {
    super(cause);
    this.name = name;
  }
}

interface Compiled {
  expression: Expression;
  running: number;
  steps: number;
}
const compiled = new Map<string, Compiled>();
/** The maximum steps of one expression. AWS has a limit too, but does not document it. */
const stepsMax = 500_000;
const stepsAtOnce = 5000;
/** The maximum depth of one expression's recursion. One that ran to the maximum of steps held 500 MB. */
const depthMax = 5000;
const rangeMax = 10_000;
const compiledMax = 2000;
const own = {
  uuid: () => randomUUID(),
  parse: (text: string) => JSON.parse(text) as unknown,
  hash: (data: unknown, algorithm = "SHA-256") =>
    createHash(algorithm.replace("-", "").toLowerCase())
      .update(typeof data === "string" ? data : JSON.stringify(data))
      .digest("hex"),
  /** 0 ≤ n < 1; the same seed gives the same number. */
  random: (seed?: number) => (seed === undefined ? Math.random() : new Random(Math.trunc(seed)).next()),
  range: (from: number, to: number, step = 1) => {
    const length = Math.max(0, Math.floor((to - from) / step) + 1);
    if (!(length <= rangeMax)) throw new Error(`$range returns more than ${rangeMax} numbers`);
    return Array.from({ length }, (_, i) => from + i * step);
  },
  partition: (list: unknown[], size: number) =>
    Array.from({ length: Math.ceil(list.length / size) }, (_, i) => list.slice(i * size, (i + 1) * size)),
};

export interface Bindings {
  states: Record<string, unknown>;
  variables: Record<string, unknown>;
}

/** @throws StatesError States.QueryEvaluationError */
export async function evaluate(template: unknown, bindings: Bindings): Promise<unknown> {
  if (isExpression(template)) return evaluateOne(template, bindings);
  if (Array.isArray(template)) return Promise.all(template.map((item) => evaluate(item, bindings)));
  if (template === null || typeof template !== "object") return template;
  const entries = await Promise.all(
    Object.entries(template).map(async ([key, item]) => [key, await evaluate(item, bindings)] as const),
  );
  return Object.fromEntries(entries);
}

async function evaluateOne(text: string, { states, variables }: Bindings): Promise<unknown> {
  let value: unknown;
  const known = compile(text);
  if (known.running++ === 0) known.steps = 0;
  try {
    value = await known.expression.evaluate({}, { ...variables, ...own, states, eval: undefined });
  } catch (error) {
    throw new StatesError("States.QueryEvaluationError", `${text} failed: ${(error as Error).message}`);
  } finally {
    known.running--;
  }
  if (value === undefined) throw new StatesError("States.QueryEvaluationError", `${text} returned nothing (undefined)`);
  if (typeof value === "function") throw new StatesError("States.QueryEvaluationError", `${text} returned a function`);
  return JSON.parse(JSON.stringify(value)) as unknown; // removes the extra properties of JSONata's arrays
}

function compile(text: string): Compiled {
  const found = compiled.get(text);
  if (found !== undefined) return found;
  if (compiled.size >= compiledMax) compiled.clear();
  const made: Compiled = { expression: jsonata(text.slice(2, -2), { stack: depthMax }), running: 0, steps: 0 };
  // jsonata calls this hook before each step. An endless expression must not block the event loop or fill the memory.
  made.expression.assign(Symbol.for("jsonata.__evaluate_entry") as never, async () => {
    if (++made.steps > stepsMax) throw new Error(`it takes more than ${stepsMax} steps`);
    if (made.steps % stepsAtOnce === 0) await setImmediate();
  });
  compiled.set(text, made);
  return made;
}
