/** Stories of commands and what they print. `npm test -- --update test/scenarios` writes them anew. */
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { World } from "./world.ts";

const dir = import.meta.dirname;
const stories = readdirSync(dir).filter((file) => file.endsWith(".txt"));

/** The story told again: its comments and commands, and what each command prints now. */
function told(text: string): string {
  const world = new World();
  const lines = text.split("\n").flatMap((line) => {
    if (line.startsWith("#") || line === "") return [line];
    if (!line.startsWith("> ")) return []; // what was printed before
    return [line, ...world.run(line.slice(2))];
  });
  return `${lines
    .join("\n")
    .replaceAll(/\n{3,}/g, "\n\n")
    .trimEnd()}\n`;
}

describe("the story of", () => {
  it.each(stories)("%s", async (file) => {
    const whole = path.join(dir, file);
    await expect(told(readFileSync(whole, "utf8"))).toMatchFileSnapshot(whole);
  });
});
