/** Which structure nginx runs, and how it comes to another: one that does not serve is put back, and routes don't wait for it. */
import { writeFileSync } from "node:fs";
import path from "node:path";
import { structureRefused } from "../../../schemas/events.ts";
import { Structure } from "../../../schemas/snapshot.ts";
import { clock } from "../clock.ts";
import type { RouteContext } from "../routes/route-files.ts";
import type { EdgeSettings, Identity } from "../settings.ts";
import type { Store } from "../snapshot/store.ts";
import type { Nginx } from "./nginx.ts";
import { renderNginx } from "./render.ts";

const retryMs = 30_000;

export interface CurrentStructure extends Structure {
  hash: string;
  /** What its table of regions and its ranges make of routes. */
  context: RouteContext;
}

export class Structures {
  readonly #settings: EdgeSettings;
  readonly #identity: Identity;
  readonly #store: Store;
  readonly #nginx: Nginx;
  #current: CurrentStructure | undefined;
  /** Not tried again for a while: to find out that a structure does not serve can take seconds. */
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
   * Takes the structure up, or stays with the one that serves, or that served last.
   * @returns why it was not taken up
   * @throws when there is none to serve with
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
      if (text === undefined) return `the structure is not to be had: ${why}`;
      const fault = `${structureRefused}${why}`;
      this.#bad = { hash: wanted, fault, until: clock() + retryMs };
      return fault;
    }
  }

  async #use(hash: string, text: string): Promise<void> {
    const structure = Structure.parse(JSON.parse(text));
    const id = hash.slice(0, 12);
    const address = this.#identity.listenAddress;
    const { conf, router } = renderNginx({ structure, id, settings: this.#settings, address });
    writeFileSync(path.join(this.#settings.runDir, "routes/ready"), "ready", { mode: 0o644 });
    await this.#nginx.use(id, conf, router);
    const { backendRanges, portBase, portCount } = structure;
    const nearest = structure.nearest[this.#settings.region] ?? [this.#settings.region];
    this.#current = { ...structure, hash, context: { nearest, backendRanges, portBase, portCount } };
  }
}
