/** The position of an execution: a program, its input, and the values that its expressions can read. */
import { type Bindings, evaluate, StatesError } from "./expressions.ts";
import type { Program } from "./language.ts";

const dataMax = 262_144;
const secondsMax = 99_999_999;

export interface Frame {
  program: Program;
  input: unknown;
  variables: Record<string, unknown>;
  context: Record<string, unknown>;
  signal: AbortSignal;
}

export const nameOf = (error: unknown) => (error instanceof StatesError ? error.name : "States.Runtime");
export const causeOf = (error: unknown) => (error instanceof Error ? error.message : String(error));
export const bind = ({ input, variables, context }: Frame, known: Record<string, unknown>): Bindings => ({
  states: { input, context, ...known },
  variables,
});
/** A branch gets a copy of the outer variables. Its own assignments do not leave the branch. */
export const inner = (frame: Frame, signal: AbortSignal): Frame => ({
  ...frame,
  variables: { ...frame.variables },
  signal,
});

export async function assign(
  template: Record<string, unknown> | undefined,
  bindings: Bindings,
  frame: Frame,
): Promise<void> {
  if (template === undefined) return;
  const values = await evaluate(template, bindings);
  limited(values);
  Object.assign(frame.variables, values);
}

export async function wholeNumber(template: unknown, field: string, bindings: Bindings): Promise<number> {
  const value = await evaluate(template, bindings);
  if (!Number.isInteger(value) || (value as number) < 0 || (value as number) > secondsMax)
    throw new StatesError("States.QueryEvaluationError", `${field} is not a whole number from 0 to ${secondsMax}`);
  return value as number;
}

export function limited(value: unknown): void {
  if (Buffer.byteLength(JSON.stringify(value) ?? "") > dataMax)
    throw new StatesError("States.DataLimitExceeded", `a state's data is over ${dataMax} bytes`);
}
