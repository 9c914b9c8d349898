import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { exported } from "../../schemas/export.ts";

const root = path.resolve(import.meta.dirname, "../..");

describe("the exported schemas", () => {
  it.each([...exported()])("%s matches the schemas (`npm run schemas` updates it)", (file, text) => {
    expect(readFileSync(path.join(root, file), "utf8")).toBe(text);
  });

  it("describe every field of a record", () => {
    const { properties } = JSON.parse(exported().get("schemas/json/tenant.schema.json")!) as {
      properties: Record<string, { description?: string }>;
    };
    for (const [name, field] of Object.entries(properties))
      expect([name, field.description ?? ""]).toEqual([name, expect.stringMatching(/\w{4}/)]);
  });
});
