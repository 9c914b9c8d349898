/**
 * Backends that are DNS names: asks for their addresses every ten seconds, and keeps the last ones while the DNS gives none.
 * An answer counts for as long as no other one comes: what is missing never takes a backend out.
 */
import { Resolver } from "node:dns/promises";
import net from "node:net";
import { edgeLimits } from "../../../schemas/limits.ts";
import { clock } from "../clock.ts";

const { lookupEveryMs, lookupMs, lookupsAtOnceMax, addressesPerNameMax } = edgeLimits;

/** Whether a route's backend is `name:port`, and not an address. */
export const isNamed = (backend: string): boolean => !backend.startsWith("[") && /[a-z]/.test(backend);

/** `name:port` in a leaf's text; perhaps some that are no backends. */
const namedPattern = /"([a-z0-9-]*[a-z][a-z0-9.-]*|[0-9][a-z0-9.-]*[a-z][a-z0-9.-]*):\d{1,5}"/g;

/** The names that a leaf's backends may have. */
export const namesIn = (leaf: string): string[] => [...leaf.matchAll(namedPattern)].map(([, name]) => name!);

/** The addresses of a name by family; an empty list if it has none, undefined if the DNS said nothing, and then why. */
export interface Answer {
  four: string[] | undefined;
  six: string[] | undefined;
  fault?: unknown;
}
export type Lookup = (name: string) => Promise<Answer>;

export class Names {
  readonly #lookup: Lookup;
  readonly #addresses = new Map<string, string[]>();
  /** When each name is asked for again. */
  readonly #dueAt = new Map<string, number>();
  readonly #changed = new Set<string>();
  #asking = 0;
  /** Why the DNS gave no answer last. */
  fault: unknown;

  constructor(lookup: Lookup = lookupFrom(process.env.LANDFALL_DNS_SERVERS)) {
    this.#lookup = lookup;
  }

  get count(): number {
    return this.#dueAt.size;
  }

  /** The last addresses of a name, in order; none before the first answer. */
  addressesOf = (name: string): string[] => this.#addresses.get(name) ?? [];

  /** Asks for names that are not known yet, and waits for the answers: for all of them as long as one may take. */
  async learn(names: Iterable<string>): Promise<void> {
    const fresh = [...new Set(names)].filter((name) => !this.#dueAt.has(name));
    for (const name of fresh) this.#dueAt.set(name, Number.NEGATIVE_INFINITY);
    const until = clock() + lookupMs;
    for (let from = 0; from < fresh.length && clock() < until; from += lookupsAtOnceMax)
      await Promise.all(fresh.slice(from, from + lookupsAtOnceMax).map((name) => this.#ask(name, clock())));
  }

  /** Asks for no other names from now on. */
  keep(names: ReadonlySet<string>): void {
    for (const name of this.#dueAt.keys())
      if (!names.has(name)) {
        this.#dueAt.delete(name);
        this.#addresses.delete(name);
      }
  }

  /** Starts the lookups that are due. */
  tick(now: number): void {
    for (const [name, dueAt] of this.#dueAt) {
      if (this.#asking >= lookupsAtOnceMax) return;
      if (dueAt <= now) void this.#ask(name, now);
    }
  }

  /** Names whose addresses changed since the last call. */
  takeChanged(): Set<string> {
    const changed = new Set(this.#changed);
    this.#changed.clear();
    return changed;
  }

  /** What was taken could not be served: it is returned by the next `takeChanged`. */
  putBack(changed: Iterable<string>): void {
    for (const name of changed) this.#changed.add(name);
  }

  async #ask(name: string, now: number): Promise<void> {
    this.#dueAt.delete(name);
    this.#dueAt.set(name, now + lookupEveryMs); // last in turn
    this.#asking++;
    const { four, six, fault } = await this.#lookup(name);
    this.#asking--;
    this.fault = fault;
    const before = this.addressesOf(name);
    const kept = (family: number) => before.filter((address) => net.isIP(address) === family);
    const found = [...(four ?? kept(4)), ...(six ?? kept(6))].toSorted().slice(0, addressesPerNameMax);
    if (!this.#dueAt.has(name) || found.length === 0 || found.join() === before.join()) return;
    this.#addresses.set(name, found);
    this.#changed.add(name);
  }
}

/** Answers that mean: there is no such record. */
const none = new Set(["ENOTFOUND", "ENODATA"]);

/** Asks these name servers, `address:port` separated by commas, or the system's. */
function lookupFrom(servers: string | undefined): Lookup {
  const resolver = new Resolver({ timeout: lookupMs, tries: 1 });
  if (servers !== undefined) resolver.setServers(servers.split(","));
  const ask = async (answer: Promise<string[]>): Promise<{ found?: string[]; fault?: unknown }> => {
    try {
      return { found: (await answer).filter((address) => net.isIP(address) !== 0) };
    } catch (error) {
      return none.has((error as NodeJS.ErrnoException).code ?? "") ? { found: [] } : { fault: error };
    }
  };
  return async (name) => {
    const [four, six] = await Promise.all([ask(resolver.resolve4(name)), ask(resolver.resolve6(name))]);
    return { four: four.found, six: six.found, fault: four.fault ?? six.fault };
  };
}
