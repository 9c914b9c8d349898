/** Chooses the structure that nginx runs. A new one that does not serve is undone, and routes don't wait for it. */
import path from "node:path";
import { structureRefused } from "../../../schemas/report.ts";
import { Structure } from "../../../schemas/snapshot.ts";
import type { Capacity } from "../capacity.ts";
import { clock } from "../clock.ts";
import { writeAtomically } from "../files.ts";
import { memoryBytes } from "../machine.ts";
import type { RouteContext } from "../routes/route-files.ts";
import type { EdgeSettings, Identity } from "../settings.ts";
import type { Store } from "../snapshot/store.ts";
import type { Nginx } from "./nginx.ts";
import { capacityFor, renderNginx } from "./render.ts";

const retryMs = 30_000;

export interface CurrentStructure extends Structure {
  hash: string;
  /** What this edge can carry with it. */
  capacity: Capacity;
  /** The part of the structure that the rendering of routes depends on. */
  context: RouteContext;
}

export class Structures {
  readonly #settings: EdgeSettings;
  readonly #identity: Identity;
  readonly #store: Store;
  readonly #nginx: Nginx;
  #current: CurrentStructure | undefined;
  /** Not tried again before `until`: it can take seconds to detect that a structure does not serve. */
  #bad: { hash: string; fault: string; until: number } | undefined;

  constructor(settings: EdgeSettings, identity: Identity, store: Store, nginx: Nginx) {
    this.#settings = settings;
    this.#identity = identity;
    this.#store = store;
    this.#nginx = nginx;
  }

  get current(): CurrentStructure | undefined {
    return this.#current;
  }

  /**
   * Moves nginx to the structure. On failure it keeps the current structure, or uses the one that served last.
   * @returns why nginx did not move; undefined if it did
   * @throws if there is no structure to serve with
   */
  async moveTo(wanted: string, object: (hash: string) => Promise<string>): Promise<string | undefined> {
    if (wanted === this.#current?.hash) return undefined;
    if (this.#bad?.hash === wanted && clock() < this.#bad.until) return this.#bad.fault;
    let text: string | undefined;
    try {
      text = await object(wanted);
      await this.#use(wanted, text);
      return undefined;
    } catch (error) {
      const last = this.#store.structure();
      if (this.#current === undefined && (last === undefined || last.hash === wanted)) throw error;
      if (this.#current === undefined) await this.#use(last!.hash, last!.text);
      const why = error instanceof Error ? error.message : String(error);
      if (text === undefined) return `the structure can't be read: ${why}`;
      const fault = `${structureRefused}${why}`;
      this.#bad = { hash: wanted, fault, until: clock() + retryMs };
      return fault;
    }
  }

  async #use(hash: string, text: string): Promise<void> {
    const structure = Structure.parse(JSON.parse(text));
    const id = hash.slice(0, 12);
    const address = this.#identity.listenAddress;
    const facts = { structure, id, settings: this.#settings, memoryBytes: memoryBytes(), address };
    const { conf, router } = renderNginx(facts);
    writeAtomically(path.join(this.#settings.runDir, "routes/ready"), "ready");
    await this.#nginx.use(id, conf, router);
    const { backendRanges, portBase, portCount } = structure;
    const nearest = structure.nearest[this.#settings.region] ?? [this.#settings.region];
    const capacity = capacityFor(facts);
    this.#current = { ...structure, hash, capacity, context: { nearest, backendRanges, portBase, portCount } };
  }
}
