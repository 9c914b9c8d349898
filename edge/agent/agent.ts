/** The agent's one job, done over and over: make this edge serve what the signed manifest says. */
import { writeFileSync } from "node:fs";
import path from "node:path";
import type { Logger } from "pino";
import { detailTypes, type EdgeReport, rejectedMost, structureRefused } from "../../schemas/events.ts";
import { parseKeys, sha256 } from "../../schemas/signed.ts";
import { type Manifest, manifestKey, objectKey, Structure } from "../../schemas/snapshot.ts";
import { EdgeCloud } from "./aws.ts";
import { Nginx } from "./nginx.ts";
import { renderNginx } from "./render.ts";
import type { RouteContext } from "./route-files.ts";
import { LooseBucket, RoutesDir } from "./routes-dir.ts";
import type { EdgeSettings, Identity } from "./settings.ts";
import { Store } from "./store.ts";
import { RefusedError, verifyManifest } from "./verify.ts";

const manifestBytesMost = 256 * 1024;
const objectBytesMost = 8 * 1024 * 1024;
const reportEveryMs = 10_000;
const retryMs = 125;
const retryMost = 10_000;
const structureRetryMs = 30_000;
const bootAgainMs = 15_000;

export class Agent {
  readonly #settings: EdgeSettings;
  readonly #identity: Identity;
  readonly #log: Logger;
  readonly #cloud: EdgeCloud;
  readonly #store: Store;
  readonly #routes: RoutesDir;
  readonly #keys;
  readonly nginx: Nginx;
  #applied: Manifest | undefined;
  #context: RouteContext | undefined;
  #structure: string | undefined;
  /** The structure that all routes on disk were made for. */
  #renderedFor: string | undefined;
  #bootedAt = 0;
  #healthPort: number | undefined;
  #etag: string | undefined;
  /** A manifest that could not be applied, and when it is tried again; another one is tried at once. */
  #failed = { etag: undefined as string | undefined, times: 0, until: 0 };
  /** Not tried again for a while: to find out that a structure does not serve can take seconds, and routes wait. */
  #badStructure: { hash: string; fault: string; until: number } | undefined;
  #nack: EdgeReport["nack"];
  #serving = false;
  #reported = { at: 0, text: "" };
  #trouble = "";

  constructor(settings: EdgeSettings, identity: Identity, log: Logger) {
    this.#settings = settings;
    this.#identity = identity;
    this.#log = log;
    this.#keys = parseKeys(settings.publicKeys);
    this.#cloud = new EdgeCloud(settings.region);
    this.#store = new Store(settings.stateDir);
    this.nginx = new Nginx(settings.runDir, settings.nginx.command);
    this.#routes = new RoutesDir(path.join(settings.runDir, "routes"));
  }

  /** nginx accepts, its workers read routes, and there is a good configuration. */
  get serving(): boolean {
    return this.#serving;
  }

  get healthPort(): number | undefined {
    return this.#healthPort;
  }

  /** Serves the last good snapshot from disk, whatever AWS does. */
  async boot(): Promise<void> {
    this.#bootedAt = Date.now();
    const text = this.#store.manifest();
    if (text === undefined) return;
    try {
      await this.#applyManifest(text, async (hash) => this.#store.object(hash));
      this.#log.info({ generation: this.#applied?.generation }, "serving the last good snapshot");
    } catch (error) {
      this.#log.error({ err: error }, "the snapshot on disk is not usable");
    }
  }

  /** One round: fetch, verify, apply, look at nginx, report. Never throws: the next round is 250 ms away. */
  async round(now: number): Promise<void> {
    if (this.#applied === undefined && now - this.#bootedAt >= bootAgainMs) await this.boot();
    await this.#guard("pull", () => this.#pull(now));
    await this.#guard("nginx", () => this.#checkNginx());
    await this.#guard("report", () => this.#report(now));
  }

  /** Constant work, and one log line when a kind of trouble begins. */
  async #guard(step: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
      if (this.#trouble.startsWith(`${step}: `)) this.#trouble = "";
    } catch (error) {
      const trouble = `${step}: ${String(error)}`;
      if (trouble !== this.#trouble) this.#log.warn({ step, err: error }, "round failed");
      this.#trouble = trouble;
    }
  }

  async #pull(now: number): Promise<void> {
    const { bucket, cell } = this.#settings;
    const answer = await this.#cloud.getObject(bucket, manifestKey(cell), manifestBytesMost, this.#etag);
    if (answer === undefined || answer === "notModified") return;
    if (answer.etag === this.#failed.etag && now < this.#failed.until) return;
    try {
      await this.#applyManifest(answer.text, (hash) => this.#fetchObject(hash));
      this.#etag = answer.etag;
      this.#nack = undefined;
      this.#failed = { etag: undefined, times: 0, until: 0 };
    } catch (error) {
      const generation = error instanceof RefusedError || error instanceof StructureError ? error.generation : 0;
      this.#nack = { generation, reason: error instanceof Error ? error.message : String(error) };
      if (error instanceof RefusedError) this.#etag = answer.etag; // refused for good: wait for other bytes
      const times = answer.etag === this.#failed.etag ? this.#failed.times + 1 : 1;
      this.#failed = { etag: answer.etag, times, until: now + Math.min(retryMost, retryMs * 2 ** times) };
      throw error;
    }
  }

  async #fetchObject(hash: string): Promise<string | undefined> {
    const kept = this.#store.object(hash);
    if (kept !== undefined) return kept;
    const answer = await this.#cloud.getObject(this.#settings.bucket, objectKey(hash), objectBytesMost);
    if (answer === undefined || answer === "notModified") return undefined;
    if (sha256(answer.text) !== hash) throw new Error(`object ${hash} does not have that hash`);
    this.#store.saveObject(hash, answer.text);
    return answer.text;
  }

  async #applyManifest(text: string, objectOf: (hash: string) => Promise<string | undefined>): Promise<void> {
    const manifest = verifyManifest(text, {
      cell: this.#settings.cell,
      keys: this.#keys,
      generation: this.#applied?.generation ?? 0,
      incarnation: this.#applied?.incarnation,
    });
    const object = async (hash: string) => {
      const found = await objectOf(hash);
      if (found === undefined) throw new Error(`object ${hash} of generation ${manifest.generation} is missing`);
      return found;
    };
    const wanted = manifest.structure.overrides[this.#identity.edgeId] ?? manifest.structure.default;
    const everything = wanted !== this.#renderedFor; // its table of regions and ranges decides on every route
    const changed = manifest.routes.flatMap((hash, bucket) =>
      !everything && hash === this.#applied?.routes[bucket] ? [] : [{ bucket, hash }],
    );
    const buckets = new Map<number, LooseBucket>();
    for (const { bucket, hash } of changed) buckets.set(bucket, LooseBucket.parse(JSON.parse(await object(hash))));
    const fault = wanted === this.#structure ? undefined : await this.#moveTo(wanted, object);
    // On disk before it is served and acknowledged: what was acknowledged is what a restart serves.
    this.#store.saveManifest(text, this.#structure!, new Set([...manifest.routes, wanted]));
    this.#routes.apply(buckets, this.#context!);
    this.#renderedFor = this.#structure;
    if (this.#applied === undefined) this.#routes.sweep();
    this.#applied = manifest;
    this.#log.info({ generation: manifest.generation, buckets: changed.length }, "applied");
    if (fault !== undefined) throw new StructureError(fault, manifest.generation);
  }

  /**
   * Takes the structure up, or stays with the one that serves, or that served last: routes don't wait for it.
   * @returns why it was not taken up
   */
  async #moveTo(wanted: string, object: (hash: string) => Promise<string>): Promise<string | undefined> {
    const known = this.#badStructure;
    if (known?.hash === wanted && Date.now() < known.until) return known.fault;
    let text: string | undefined;
    try {
      text = await object(wanted);
      await this.#useStructure(wanted, text);
      return undefined;
    } catch (error) {
      const last = this.#store.structure();
      if (this.#structure === undefined && (last === undefined || last.hash === wanted)) throw error;
      if (this.#structure === undefined) await this.#useStructure(last!.hash, last!.text);
      const why = error instanceof Error ? error.message : String(error);
      if (text === undefined) return `the structure is not to be had: ${why}`;
      const fault = `${structureRefused}${why}`;
      this.#badStructure = { hash: wanted, fault, until: Date.now() + structureRetryMs };
      return fault;
    }
  }

  async #useStructure(hash: string, text: string): Promise<void> {
    const structure = Structure.parse(JSON.parse(text));
    const id = hash.slice(0, 12);
    const { conf, router } = renderNginx({
      structure,
      id,
      settings: this.#settings,
      address: this.#identity.listenAddress,
    });
    const { backendRanges, portBase, portCount } = structure;
    const nearest = structure.nearest[this.#settings.region] ?? [this.#settings.region];
    writeFileSync(path.join(this.#settings.runDir, "routes/ready"), "ready", { mode: 0o644 });
    await this.nginx.use(id, conf, router);
    this.#structure = hash;
    this.#healthPort = structure.healthPort;
    this.#context = { nearest, backendRanges, portBase, portCount };
  }

  async #checkNginx(): Promise<void> {
    if (this.#structure === undefined) return;
    const answer = await this.nginx.probe();
    this.#serving = answer?.ready === "ready" && this.#applied !== undefined;
    if (answer?.ready === "unreadable")
      throw new Error("nginx's workers can't read the routes: check the folder's rights");
    if (answer === undefined) await this.nginx.restart();
    else if (this.nginx.pid() === undefined) throw new Error("nginx's master is gone; the workers it left serve on");
  }

  async #report(now: number): Promise<void> {
    const { cell, region } = this.#settings;
    const state = {
      edgeId: this.#identity.edgeId,
      cell,
      region,
      address: this.#identity.address,
      appliedGeneration: this.#applied?.generation ?? 0,
      structure: this.#structure,
      serving: this.#serving,
      rejectedRoutes: this.#routes.rejected.slice(0, rejectedMost),
      nack: this.#nack,
    };
    const text = JSON.stringify(state);
    if (text === this.#reported.text && Math.abs(now - this.#reported.at) < reportEveryMs) return;
    const at = Math.max(now, this.#reported.at + 1); // a clock that is set back must not make this look old
    await this.#cloud.putEvent(detailTypes.edgeReport, { ...state, at });
    this.#reported = { at, text };
  }
}

/** The manifest's structure can't be used here; its routes are served all the same. */
class StructureError extends Error {
  override readonly name = "StructureError";
  readonly generation: number;
  constructor(reason: string, generation: number) {
    super(reason);
    this.generation = generation;
  }
}
