import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";

const root = path.resolve(import.meta.dirname, "../..");

/** From the lowest room to the highest: a file imports from its own room and from lower ones (docs/architecture.md). */
const floors = [
  ["schemas"],
  ["core", "edge"],
  ["aws", "infra"],
  ["control"],
  ["functions", "cli"],
  ["local"],
  ["test"],
  ["bench"],
];
const floorOf = new Map(floors.flatMap((rooms, floor) => rooms.map((room) => [room, floor])));
const roomOf = (file: string) => file.split("/")[0]!;

function filesIn(dir: string): string[] {
  return readdirSync(path.join(root, dir)).flatMap((name) => {
    const file = path.join(dir, name);
    if (statSync(path.join(root, file)).isDirectory()) return filesIn(file);
    return file.endsWith(".ts") && !file.endsWith(".d.ts") ? [file] : [];
  });
}

const comments = /\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm;
const relativeImport = /(?:from\s+|import\(\s*|import\s+)"(\.[^"]+)"/g;

/** Files of the project that a file imports, types included. */
function importsOf(file: string): string[] {
  const text = readFileSync(path.join(root, file), "utf8").replaceAll(comments, "");
  return [...text.matchAll(relativeImport)].flatMap(([, id]) => {
    const target = path.join(path.dirname(file), id!);
    const found = [target, `${target}.ts`].find((candidate) => existsSync(path.join(root, candidate)));
    return found?.endsWith(".ts") ? [found] : [];
  });
}

const files = [...floorOf.keys()].flatMap(filesIn);
const imports = new Map(files.map((file) => [file, importsOf(file)]));

describe("the rooms of the project", () => {
  it("all belong to a floor", () => {
    const rooms = readdirSync(root).filter(
      (name) => statSync(path.join(root, name)).isDirectory() && !name.startsWith(".") && filesIn(name).length > 0,
    );
    const own = rooms.filter((room) => !["node_modules", "dist"].includes(room));
    expect(own.filter((room) => !floorOf.has(room))).toEqual([]);
  });

  it("import only from themselves and from lower floors", () => {
    const upward = [...imports].flatMap(([file, targets]) =>
      targets
        .filter((target) => {
          const [from, to] = [roomOf(file), roomOf(target)];
          return from !== to && floorOf.get(to)! >= floorOf.get(from)!;
        })
        .map((target) => `${file} imports ${target}`),
    );
    expect(upward).toEqual([]);
  });

  it("have no import cycle between files", () => {
    const done = new Set<string>();
    const circles: string[] = [];
    const visit = (file: string, trail: string[]) => {
      if (trail.includes(file)) circles.push([...trail.slice(trail.indexOf(file)), file].join(" → "));
      if (done.has(file) || trail.includes(file)) return;
      for (const target of imports.get(file) ?? []) visit(target, [...trail, file]);
      done.add(file);
    };
    for (const file of files) visit(file, []);
    expect(circles).toEqual([]);
  });
});

describe("core/", () => {
  it("keeps no state: it has no mutable module-level variable", () => {
    const stateful = filesIn("core").filter((file) =>
      /^(export )?(let |const \w+(: [^=]+)? = new (Map|Set|WeakMap)(<[^>]*>)?\(\);)/m.test(
        readFileSync(path.join(root, file), "utf8"),
      ),
    );
    expect(stateful).toEqual([]);
  });
});

describe("functions/", () => {
  it("holds one handler in each file, and their shared shell", () => {
    for (const file of readdirSync(path.join(root, "functions")).filter((name) => name !== "shell"))
      expect([file, readFileSync(path.join(root, "functions", file), "utf8")]).toEqual([
        file,
        expect.stringContaining("export const handler = shell("),
      ]);
    expect(readdirSync(path.join(root, "functions/shell"))).toEqual(["handler.ts"]);
  });
});
