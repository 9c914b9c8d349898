/** The documents name files of the project: each of them exists. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";

const root = path.resolve(import.meta.dirname, "../..");
const read = (file: string) => readFileSync(path.join(root, file), "utf8");
const pages = [
  "README.md",
  ...readdirSync(path.join(root, "docs"), { recursive: true, encoding: "utf8" }).map((name) => `docs/${name}`),
].filter((file) => file.endsWith(".md"));
const rooms = readdirSync(root, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name);

/** Files that a text names: paths that begin with a folder of the project, or a file at its top. */
function filesIn(text: string): string[] {
  const names = [...text.matchAll(/`([\w./-]+)`/g)].map(([, name]) => name!);
  const isMade = (name: string) => /^(dist|\.local)\//.test(name); // by a build or a run, which may have been stopped
  return names.filter((name) => rooms.includes(name.split("/")[0]!) && name.includes("/") && !isMade(name));
}

/** Links to other files, relative to the page. */
const linksIn = (text: string) =>
  [...text.matchAll(/\]\(([^)#]+)\)/g)].map(([, link]) => link!).filter((link) => !/^\w+:/.test(link));

describe("docs/architecture.md", () => {
  const [, tour = ""] = /## A tour in ten questions\n([\s\S]*?)\n## /.exec(read("docs/architecture.md")) ?? [];

  it("answers ten questions, each with one file", () => {
    const rows = [...tour.matchAll(/^\| (.+?) \| `([^`]+)` \|$/gm)];
    expect(rows).toHaveLength(10);
    expect(new Set(rows.map(([, , file]) => file)).size).toBe(10);
  });

  it("names every room", () => {
    const { length } = filesIn(read("docs/architecture.md"));
    expect(length).toBeGreaterThan(20);
    const ours = rooms.filter(
      (room) => !room.startsWith(".") && !["node_modules", "dist", "docs", "examples", "data"].includes(room),
    );
    expect(ours.filter((room) => !read("docs/architecture.md").includes(`\`${room}/\``))).toEqual([]);
  });
});

describe.each(pages)("%s", (page) => {
  it("names only files that exist", () => {
    expect(filesIn(read(page)).filter((file) => !existsSync(path.join(root, file)))).toEqual([]);
  });

  it("links only to files that exist", () => {
    expect(linksIn(read(page)).filter((link) => !existsSync(path.join(root, path.dirname(page), link)))).toEqual([]);
  });
});
