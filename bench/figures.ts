/** The output of a bench: each figure as a line of JSON and, if asked for, all as a table in docs/benchmarks.md. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";

export interface Figure {
  bench: string;
  figure: string;
  value: number;
  unit: string;
  n: number;
  profile: string;
  /** The design's target, if there is one. */
  target?: string;
}

const file = path.resolve(import.meta.dirname, "../docs/benchmarks.md");
const heading = `# Benchmarks

Every figure comes from \`npm run bench [name]\`, on the embedded cloud with real nginx and agents. None was measured on
AWS: the profile \`aws\` adds the known or assumed latencies of AWS (\`local/latency.ts\`). Clients, control plane and
edges share the machine, so times are upper bounds and include the noise of all of them.
`;

/** The percentile of the values at `share`, 0 to 1 (nearest rank). */
export function percentile(values: number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
}

/** Whether a value misses a target such as `≤ 500 ms`, `≥ 2 x` or `0`. */
export function isMissed(value: number, target: string): boolean {
  const [, sign, number] = /^([≤≥]?) ?([\d.]+)/.exec(target) ?? [];
  if (number === undefined) throw new Error(`no target is ${target}`);
  const wanted = Number(number);
  if (sign === "≤") return !(value <= wanted);
  return sign === "≥" ? !(value >= wanted) : value !== wanted;
}

const rounded = (value: number) => Number(value.toPrecision(4));

export class Figures {
  readonly #bench: string;
  readonly #profile: string;
  readonly #figures: Figure[] = [];
  #matrix: string[] | undefined;

  constructor(bench: string, profile: string) {
    this.#bench = bench;
    this.#profile = profile;
  }

  add(figure: string, value: number, unit: string, n: number, target?: string): void {
    const said: Figure = { bench: this.#bench, figure, value: rounded(value), unit, n, profile: this.#profile };
    this.#figures.push(target === undefined ? said : { ...said, target });
    console.log(JSON.stringify(said));
    if (target === undefined || !isMissed(said.value, target)) return;
    console.error(`missed: ${figure} is ${said.value} ${unit}, the target is ${target}`);
    process.exitCode = 1;
  }

  /** Median, 90th and 99th percentile. */
  spread(figure: string, values: number[], unit: string, targets: { p50?: string; p99?: string } = {}): void {
    this.add(`${figure}, p50`, percentile(values, 0.5), unit, values.length, targets.p50);
    this.add(`${figure}, p90`, percentile(values, 0.9), unit, values.length);
    this.add(`${figure}, p99`, percentile(values, 0.99), unit, values.length, targets.p99);
  }

  /** Sets the table for the document, instead of a table with one line per figure. */
  matrix(header: string[], rows: string[][]): void {
    this.#matrix = [header, header.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`);
  }

  /** Set by `--write`: the document is changed only then. */
  static writes = false;

  /** Replaces the last run's table in the document. */
  write(about: string): void {
    if (!Figures.writes) return;
    const text = existsSync(file) ? readFileSync(file, "utf8") : heading;
    const [from, to] = [`<!-- ${this.#bench} ${this.#profile} -->`, `<!-- /${this.#bench} ${this.#profile} -->`];
    const rows = this.#figures.map(
      ({ figure, value, unit, n, target }) => `| ${figure} | ${value} ${unit} | ${n} | ${target ?? ""} |`,
    );
    const machine = `${os.cpus().length} cores, Node ${process.versions.node}`;
    const section = [
      from,
      `## ${this.#bench}, profile ${this.#profile}`,
      "",
      `${about} ${machine}.`,
      "",
      ...(this.#matrix ?? ["| figure | value | n | target |", "|---|---|---|---|", ...rows]),
      to,
    ].join("\n");
    const at = text.indexOf(from);
    const next =
      at < 0
        ? `${text.trimEnd()}\n\n${section}\n`
        : text.slice(0, at) + section + text.slice(text.indexOf(to) + to.length);
    writeFileSync(file, next);
  }
}
