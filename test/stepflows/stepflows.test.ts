import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import validator from "asl-validator";
import jsonata from "jsonata";
import { describe, expect, it } from "vitest";
import { workflowErrors } from "../../core/errors.ts";
import { checkDefinition } from "../../local/services/states/definition.ts";
import { rolloutLimits } from "../../schemas/limits.ts";

const dir = path.resolve(import.meta.dirname, "../../stepflows");
const files = readdirSync(dir).filter((name) => name.endsWith(".asl.json"));
const arn = "arn:aws:lambda:us-west-2:123456789012:function:x";
const textOf = (file: string) => readFileSync(path.join(dir, file), "utf8");

/** Every error name that a Retry or Catch in the tree matches. */
function namesIn(value: unknown): string[] {
  if (Array.isArray(value)) return value.flatMap(namesIn);
  if (value === null || typeof value !== "object") return [];
  return Object.entries(value).flatMap(([key, member]) =>
    key === "ErrorEquals" ? (member as string[]) : namesIn(member),
  );
}

describe.each(files)("stepflows/%s", (file) => {
  it("is valid Amazon States Language", () => {
    const result = validator(JSON.parse(textOf(file).replace(/\$\{\w+\}/g, arn)) as object);
    expect(result.errorsText()).toBe("");
    expect(result.isValid).toBe(true);
  });

  it("uses nothing that the embedded cloud does not implement, and its expressions compile", () => {
    expect(checkDefinition(textOf(file).replace(/\$\{\w+\}/g, arn)).faults).toEqual([]);
  });

  it("matches only error names that exist", () => {
    const ours = workflowErrors.map((error) => new error("").name as string);
    const known = [...ours, "InvalidInputError", "States.ALL", "States.Timeout", "Lambda.TooManyRequestsException"];
    expect(namesIn(JSON.parse(textOf(file))).filter((name) => !known.includes(name))).toEqual([]);
  });

  it("waits ten minutes for a free function, as with ten at a time, and never more than five seconds between two tries", () => {
    for (const { States } of machinesIn(JSON.parse(textOf(file))))
      for (const [name, { Type, Retry }] of Object.entries(States))
        if (Type === "Task")
          expect([name, Retry?.[0]]).toMatchObject([
            name,
            {
              ErrorEquals: ["Lambda.TooManyRequestsException"],
              MaxAttempts: 240,
              MaxDelaySeconds: 5,
              JitterStrategy: "FULL",
            },
          ]);
  });

  it("gives no variable the name of a JSONata function, which would exist before it is assigned", async () => {
    for (const assigned of valuesOf("Assign", JSON.parse(textOf(file))) as object[])
      for (const name of Object.keys(assigned))
        expect([name, await jsonata(`$exists($${name})`).evaluate({})]).toEqual([name, false]);
  });

  it("has a comment that states its purpose", () => {
    expect((JSON.parse(textOf(file)) as { Comment?: string }).Comment).toMatch(/.{20,}/);
  });
});

interface Machine {
  States: Record<string, { Type: string; Retry?: unknown[] }>;
}

/** A workflow, and the workflows inside its Map states. */
function machinesIn(value: unknown): Machine[] {
  return [value as Machine, ...(valuesOf("ItemProcessor", value) as Machine[])];
}

/** Every value of a field, wherever in the tree. */
function valuesOf(field: string, value: unknown): unknown[] {
  if (value === null || typeof value !== "object") return [];
  return Object.entries(value).flatMap(([key, member]) => [
    ...(key === field ? [member] : []),
    ...valuesOf(field, member),
  ]);
}

describe("stepflows/tenant-rollout", () => {
  const flow = JSON.parse(textOf("tenant-rollout.asl.json")) as Record<string, unknown>;
  const { workflowSeconds, ackWaitSeconds, admitAttemptsMax, batchActiveMs, settleChecksMax } = rolloutLimits;

  it("has the time-outs and attempts of schemas/limits.ts", () => {
    expect(valuesOf("TimeoutSeconds", flow)).toEqual([workflowSeconds, ackWaitSeconds]);
    const conditions = valuesOf("Condition", flow).join("\n");
    expect(conditions).toContain(`$attempt < ${admitAttemptsMax}`);
    expect(conditions).toContain(`$checks < ${settleChecksMax}`);
    const retries = valuesOf("Retry", flow).flat() as { ErrorEquals: string[]; MaxAttempts: number }[];
    const changed = retries.filter(({ ErrorEquals }) => ErrorEquals.includes("RowChangedError"));
    expect(changed.map(({ MaxAttempts }) => MaxAttempts)).toEqual([admitAttemptsMax]);
  });

  it("is over before the audit takes the slots that its batch reserved", () => {
    expect(workflowSeconds * 1000).toBeLessThan(batchActiveMs);
  });
});
