import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import validator from "asl-validator";
import { describe, expect, it } from "vitest";
import { workflowErrors } from "../../core/errors.ts";
import { checkDefinition } from "../../local/services/states/definition.ts";

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

  it("matches only errors that are thrown by that name", () => {
    const ours = workflowErrors.map((error) => new error("").name as string);
    const known = [...ours, "InvalidInputError", "States.ALL", "States.Timeout"];
    expect(namesIn(JSON.parse(textOf(file))).filter((name) => !known.includes(name))).toEqual([]);
  });

  it("says what it is for", () => {
    expect((JSON.parse(textOf(file)) as { Comment?: string }).Comment).toMatch(/.{20,}/);
  });
});
