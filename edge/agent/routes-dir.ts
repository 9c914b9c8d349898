/** The directory of route files: what the router reads is replaced file by file, each at once. */
import { mkdirSync, readdirSync, rmSync } from "node:fs";
import path from "node:path";
import * as z from "zod";
import { readIfThere, unfinished, writeAtomically } from "./files.ts";
import { type RouteContext, routeFiles } from "./route-files.ts";

/** A bucket as far as it must be whole: each route in it is judged on its own. */
export const LooseBucket = z.object({
  routes: z.array(z.looseObject({ slot: z.number().int(), tenantId: z.string() })),
});
export type LooseBucket = z.infer<typeof LooseBucket>;

export interface Rejected {
  tenantId: string;
  slot: number;
  reason: string;
}

const kinds = ["n", "w", "p"];

export class RoutesDir {
  readonly #dir: string;
  /** Per bucket and slot, the files that serve it. */
  readonly #buckets = new Map<number, Map<number, Map<string, string>>>();
  /** Which slot a file belongs to: a name that moved is not deleted by the one that lost it. */
  readonly #owners = new Map<string, number>();
  /** What is on disk. */
  readonly #contents = new Map<string, string>();
  readonly #rejected = new Map<number, Rejected[]>();

  /** Takes over what an earlier run left, and sweeps its half-written files. */
  constructor(dir: string) {
    this.#dir = dir;
    for (const kind of kinds) {
      mkdirSync(path.join(dir, kind), { recursive: true, mode: 0o755 });
      for (const name of readdirSync(path.join(dir, kind))) {
        const file = `${kind}/${name}`;
        if (name.endsWith(unfinished)) rmSync(path.join(dir, file));
        else this.#contents.set(file, readIfThere(path.join(dir, file)) ?? "");
      }
    }
  }

  get rejected(): Rejected[] {
    return [...this.#rejected.values()].flat().sort((a, b) => a.slot - b.slot);
  }

  /**
   * Serves these buckets from now on. A route that does not pass keeps its last good state. What is new is written before
   * what is gone is removed, and nothing is noted before both are done: half a failure is done again as a whole.
   */
  apply(buckets: Map<number, LooseBucket>, context: RouteContext): void {
    const stale: { slot: number; file: string }[] = [];
    const made = [...buckets].map(([bucket, { routes }]) => ({ bucket, ...this.#filesOf(bucket, routes, context) }));
    for (const { bucket, after } of made) {
      for (const [slot, files] of after) for (const [file, content] of files) this.#write(slot, file, content);
      for (const [slot, files] of this.#buckets.get(bucket) ?? [])
        for (const file of files.keys()) if (!after.get(slot)?.has(file)) stale.push({ slot, file });
    }
    for (const { slot, file } of stale) if (this.#owners.get(file) === slot) this.#remove(file);
    for (const { bucket, after, rejected } of made) {
      this.#buckets.set(bucket, after);
      this.#rejected.set(bucket, rejected);
    }
  }

  #filesOf(bucket: number, routes: LooseBucket["routes"], context: RouteContext) {
    const before = this.#buckets.get(bucket);
    const after = new Map<number, Map<string, string>>();
    const rejected: Rejected[] = [];
    for (const route of routes) {
      const made = routeFiles(route, context);
      if (!made.ok) rejected.push({ tenantId: route.tenantId, slot: made.slot, reason: made.reason });
      const files = made.ok ? made.files : (before?.get(made.slot) ?? this.#leftBy(route));
      if (files.size > 0) after.set(made.slot, files);
    }
    return { after, rejected };
  }

  /** What an earlier run left on disk for a route that is refused now: its last good state. */
  #leftBy({ hostnames, wildcard, port }: Record<string, unknown>): Map<string, string> {
    const names = [
      ...(Array.isArray(hostnames) ? hostnames.map((name) => `n/${String(name)}`) : []),
      ...(typeof wildcard === "string" ? [`w/${wildcard.slice(2)}`] : []),
      ...(typeof port === "number" ? [`p/${port}`] : []),
    ];
    return new Map(
      names.flatMap((file) =>
        this.#contents.has(file) && !this.#owners.has(file) ? [[file, this.#contents.get(file)!]] : [],
      ),
    );
  }

  /** Removes what no route owns: left by an earlier run. To be called once all buckets are applied. */
  sweep(): void {
    for (const file of [...this.#contents.keys()]) if (!this.#owners.has(file)) this.#remove(file);
  }

  #write(slot: number, file: string, content: string): void {
    this.#owners.set(file, slot);
    if (this.#contents.get(file) === content) return;
    writeAtomically(path.join(this.#dir, file), content);
    this.#contents.set(file, content);
  }

  #remove(file: string): void {
    rmSync(path.join(this.#dir, file), { force: true });
    this.#owners.delete(file);
    this.#contents.delete(file);
  }
}
