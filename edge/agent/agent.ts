/** The agent's loop: makes this edge serve the signed manifest, and reports what the edge serves. */
import { existsSync } from "node:fs";
import path from "node:path";
import type { Logger } from "pino";
import { edgeLimits } from "../../schemas/limits.ts";
import { type Fullness, reportItem } from "../../schemas/report.ts";
import { parseKeys } from "../../schemas/signed.ts";
import { Backends } from "./backends/backends.ts";
import { lookFrom } from "./backends/connect.ts";
import { Names, namesIn } from "./backends/names.ts";
import { fullest, fullnessAt, type Use } from "./capacity.ts";
import { clock } from "./clock.ts";
import { Complaints } from "./complaints.ts";
import { groupId } from "./files.ts";
import { filesInUse, memoryInUse } from "./machine.ts";
import { Neighbours, probeFrom } from "./neighbours.ts";
import { NginxLogs } from "./nginx/logs.ts";
import { Nginx } from "./nginx/nginx.ts";
import { Structures } from "./nginx/structures.ts";
import { type LeafChange, LooseLeaf, sameSlots } from "./routes/plan.ts";
import { RoutesDir } from "./routes/routes-dir.ts";
import { limitedBy } from "./sessions/limits.ts";
import { Sessions } from "./sessions/sessions.ts";
import { type Live, type Ports, Sockets } from "./sessions/sockets.ts";
import type { EdgeSettings, Identity } from "./settings.ts";
import { nothingApplied, planApply, unknown } from "./snapshot/apply.ts";
import { EdgeCloud } from "./snapshot/aws.ts";
import { SnapshotSource } from "./snapshot/source.ts";
import { Store } from "./snapshot/store.ts";
import { inBatches, objectsOf, readTrees } from "./snapshot/trees.ts";
import { verifyManifest } from "./snapshot/verify.ts";

const { reportEveryMs, closingTenantsMax } = edgeLimits;
const bootAgainMs = 15_000;
const noRoutes = (): LeafChange => ({ routes: [] });

export interface AgentOptions {
  settings: EdgeSettings;
  identity: Identity;
  log: Logger;
  /** Will the instance be terminated? */
  leaving?: () => boolean;
}

export class Agent {
  readonly #settings: EdgeSettings;
  readonly #identity: Identity;
  readonly #log: Logger;
  readonly #leaving: () => boolean;
  readonly #cloud: EdgeCloud;
  readonly #store: Store;
  readonly #source: SnapshotSource;
  readonly #structures: Structures;
  readonly #sockets: Sockets;
  readonly #logs: NginxLogs;
  readonly #keys;
  readonly nginx: Nginx;
  readonly routes: RoutesDir;
  readonly backends: Backends;
  readonly names = new Names();
  readonly neighbours: Neighbours;
  /** How much of what this edge can carry is in use. */
  use: Use = { sessions: 0, memory: 0, files: 0 };
  #fullness: Fullness | undefined;
  readonly sessions: Sessions;
  #applied = nothingApplied;
  #bootedAt = 0;
  #appliedAt = 0;
  #applyMs = 0;
  /** nginx accepts connections, its workers can read routes, and a snapshot is applied. */
  #accepts = false;
  /** Probes of nginx in a row that had no answer. */
  #missed = 0;
  #reported = { at: Number.NEGATIVE_INFINITY, told: 0, changedAt: 0, news: "", text: "" };
  readonly #complaints: Complaints;
  /** Tenants that opened sessions, and whose limits are not looked at yet. */
  readonly #toLimit = new Set<string>();
  /** Backends whose health changed, but whose route files are not updated yet. */
  readonly #unwritten = new Set<string>();

  constructor({ settings, identity, log, leaving = () => false }: AgentOptions) {
    this.#settings = settings;
    this.#identity = identity;
    this.#log = log;
    this.#complaints = new Complaints(log);
    this.#leaving = leaving;
    this.#keys = parseKeys(settings.publicKeys);
    this.#cloud = new EdgeCloud(settings.region);
    this.#store = new Store(settings.stateDir);
    this.#source = new SnapshotSource(this.#cloud, this.#store, settings);
    this.nginx = new Nginx(settings.runDir, settings.nginx);
    this.#structures = new Structures(settings, identity, this.#store, this.nginx);
    this.backends = new Backends({
      file: path.join(settings.runDir, "backends.json"),
      watched: () => this.routes.backends,
      look: lookFrom(identity.listenAddress),
      checkOf: (backend) => this.routes.checkOf(backend),
      onChange: (changed) => this.#healthChanged(changed),
      onTrouble: (error) => this.#complaints.wrong("can't save the list of backends that are down", error),
    });
    this.routes = new RoutesDir(path.join(settings.runDir, "routes"), this.backends.isUp, this.#addressesOf);
    this.neighbours = new Neighbours(
      { id: identity.edgeId, region: settings.region },
      probeFrom(identity.listenAddress),
    );
    this.#sockets = new Sockets(identity.listenAddress, settings.sockets);
    const group = settings.nginx.group === undefined ? undefined : groupId(settings.nginx.group);
    this.#logs = new NginxLogs(settings.runDir, group, () => this.nginx.signal("SIGUSR1"));
    this.sessions = new Sessions(settings.runDir, group, this.#sockets, this.routes, this.#logs);
  }

  /** True if this edge accepts new users. */
  get serving(): boolean {
    return this.#accepts && this.sessions.drain.phase === "none";
  }

  get structure() {
    return this.#structures.current;
  }

  get generation(): number {
    return this.#applied.manifest?.generation ?? 0;
  }

  /**
   * When a snapshot was last applied, and when the bucket last answered a poll, in milliseconds since 1970, and how long it
   * took to fetch and apply the snapshot.
   */
  get times() {
    return { appliedAt: this.#appliedAt, heardAt: this.#source.heardAt, applyMs: this.#applyMs };
  }

  /** Clients' connections with their byte counts so far; undefined if the kernel's list can't be read. */
  async connections(): Promise<Live[] | undefined> {
    const ports = this.#ports();
    if (ports === undefined) return [];
    let live: Live[] | undefined;
    await this.#guard("connections", async () => {
      live = await this.#sockets.live(ports, { bytes: true });
    });
    return live;
  }

  /** An edge is no backend: it would connect to itself. */
  #addressesOf = (name: string) => this.names.addressesOf(name).filter((address) => address !== this.#identity.address);

  /** Serves the last good snapshot from disk, without AWS. */
  async boot(): Promise<void> {
    this.#bootedAt = clock();
    const text = this.#store.manifest();
    if (text === undefined) return;
    try {
      await this.#applyManifest(text, async (hash) => this.#store.object(hash));
      this.#log.info({ generation: this.generation }, "serving the last good snapshot");
    } catch (error) {
      this.#log.error({ err: error }, "the snapshot on disk is not usable");
    }
  }

  /** Four times a second: fetch (less often when nothing changes), verify, apply, report. Never throws. */
  async round(now: number): Promise<void> {
    if (this.#applied.manifest === undefined && now - this.#bootedAt >= bootAgainMs) await this.boot();
    await this.#guard("pull", () => this.#pull(now));
    await this.#guard("names", () => this.#followNames(now));
    await this.#guard("report", () => this.#report(now));
  }

  /** Also four times a second, independent of AWS: checks nginx, reads new sessions, writes backends' health. */
  async look(): Promise<void> {
    await this.#guard("nginx", () => this.#checkNginx());
    await this.#guard("sessions", () => this.#readSessions());
    await this.#guard("health", () => this.#writeHealth());
    await this.#guard("logs", () => this.#logs.boundErrors());
  }

  /** Once a second: closes sessions that must end. Its duration grows with the kernel's list of connections. */
  async tend(now: number): Promise<void> {
    const { structure } = this;
    await this.#guard("fullness", () => this.#lookAtRoom());
    if (this.structure !== undefined) this.neighbours.tick(this.structure.edgeTlsPort);
    const ports = this.#ports();
    if (structure === undefined || ports === undefined || this.#applied.manifest === undefined) return;
    const asked = this.#leaving() || existsSync(path.join(this.#settings.stateDir, "drain"));
    await this.#guard("tend", async () => {
      for (const backend of await this.sessions.tend(ports, structure.sessions, asked, now))
        this.backends.doubt(backend, clock());
    });
  }

  /** Many times a second: reads which backends took no user's connection, and starts the checks that are due. Never throws. */
  async check(now: number): Promise<void> {
    await this.#guard("failed connections", () => {
      for (const backend of this.#logs.readFailed()) void this.backends.failed(backend, now);
    });
    this.backends.tick(now);
  }

  #ports(): Ports | undefined {
    const { structure } = this;
    if (structure === undefined) return undefined;
    const { edgeTlsPort: tls, portBase: first, portCount } = structure;
    return { tls, first, last: first + portCount - 1 };
  }

  /** Runs one step of the constant work. */
  async #guard(step: string, work: () => Promise<void> | void): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#complaints.wrong(`${step} failed`, error);
    }
  }

  async #pull(now: number): Promise<void> {
    await this.#source.pull(now, (text) => this.#applyManifest(text, (hash) => this.#source.object(hash)));
  }

  async #applyManifest(text: string, objectOf: (hash: string) => Promise<string | undefined>): Promise<void> {
    const manifest = verifyManifest(text, {
      cell: this.#settings.cell,
      keys: this.#keys,
      generation: this.generation,
      incarnation: this.#applied.manifest?.incarnation,
    });
    const startedAt = clock();
    const applied = this.#applied;
    const object = async (hash: string) => {
      const found = await objectOf(hash);
      if (found === undefined) throw new Error(`object ${hash} of generation ${manifest.generation} is missing`);
      return found;
    };
    const wanted = manifest.structure.overrides[this.#identity.edgeId] ?? manifest.structure.default;
    const kept = [manifest, ...(applied.manifest === undefined ? [] : [applied.manifest])];
    this.#store.keepOnly(new Set(kept.flatMap((one) => objectsOf(one, applied.trees, this.#onDisk))));
    const fault = await this.#structures.moveTo(wanted, object);
    const { hash: structure, context } = this.#structures.current!;
    const trees = await readTrees(manifest.routes, applied.trees, object);
    const plan = planApply(applied, manifest, trees, JSON.stringify(context)); // regions and ranges affect every route
    const named: string[] = [];
    await inBatches(plan.changed, async ({ hash }) => void named.push(...namesIn(await object(hash))));
    await this.names.learn(named);
    // Saved before it is served and acknowledged: a restart must serve what was acknowledged.
    await this.#store.saveManifest(text, structure);
    this.#applied = plan.during;
    await this.routes.apply(
      [
        ...plan.gone.map((leaf) => [leaf, noRoutes] as const),
        ...plan.changed.map(({ leaf, hash, last }) => [leaf, () => this.#leafOf(hash, last)] as const),
      ],
      context,
    );
    this.#watchBackends();
    this.names.keep(this.routes.names);
    this.#applied = plan.after;
    this.neighbours.watch(manifest.edges);
    this.#appliedAt = clock();
    this.#applyMs = this.#appliedAt - startedAt;
    this.#log.info({ generation: manifest.generation, leaves: plan.changed.length }, "applied");
    if (fault !== undefined) throw new StructureError(fault, manifest.generation);
  }

  #onDisk = (hash: string) => this.#store.object(hash);

  #watchBackends(): void {
    const { began, ended } = this.routes.takeBackends();
    this.backends.unwatch(ended);
    this.backends.watch(began);
  }

  /** Asks for names' addresses, and serves those that changed. */
  async #followNames(now: number): Promise<void> {
    this.names.tick(now);
    if (this.names.fault !== undefined) this.#complaints.wrong("the DNS gives no answer", this.names.fault);
    const { current } = this.#structures;
    const changed = this.names.takeChanged();
    if (changed.size === 0 || current === undefined || this.#applied.manifest === undefined) return;
    const leaves = [...this.routes.slotsNaming(changed)].map(([leaf, slots]) => {
      const read = () => {
        const now = this.#leafOf(this.#applied.leaves.get(leaf) ?? unknown, undefined);
        return { ...now, same: new Set(now.routes.flatMap(({ slot }) => (slots.has(slot) ? [] : [slot]))) };
      };
      return [leaf, read] as const;
    });
    try {
      await this.routes.apply(leaves, current.context);
    } catch (error) {
      this.names.putBack(changed);
      throw error;
    }
    this.#watchBackends();
  }

  /** A leaf on the disk, and which of its routes are as in the one that was applied last. */
  #leafOf(hash: string, last: string | undefined): LeafChange {
    const text = this.#store.object(hash);
    if (text === undefined) throw new Error(`object ${hash} is not on the disk any more`);
    const now = LooseLeaf.parse(JSON.parse(text));
    const before = last === undefined ? undefined : this.#store.object(last);
    return before === undefined ? now : { ...now, same: sameSlots(LooseLeaf.parse(JSON.parse(before)), now) };
  }

  #lookAtRoom(): void {
    const { sessions = Number.POSITIVE_INFINITY } = this.structure?.capacity ?? {};
    const isAlone = this.#identity.listenAddress === undefined; // else other edges use the machine too
    this.use = {
      sessions: this.sessions.table.size / sessions,
      memory: isAlone ? memoryInUse() : 0,
      files: isAlone ? filesInUse(this.#settings.runDir) : 0,
    };
    const { what, share } = fullest(this.use);
    this.#fullness = fullnessAt(share, this.#fullness);
    if (this.#fullness === undefined) return;
    const error = new Error(`${what}: ${Math.round(share * 100)} % of what this edge can carry are in use`);
    this.#complaints.wrong("this edge is nearly full: it needs a larger machine, or other edges beside it", error);
  }

  #readSessions(): void {
    if (this.#applied.manifest === undefined) return; // new sessions wait on disk until there are routes to compare them with
    const now = clock();
    for (const backend of this.sessions.read(now)) this.backends.used(backend, now);
    this.#limitTenants(now);
  }

  /** Marks the files of tenants whose limits are reached, and unmarks the others. */
  #limitTenants(now: number): void {
    const { table } = this.sessions;
    const limits = this.structure?.sessionLimits;
    if (limits === undefined) return;
    for (const tenantId of table.takeTouched()) this.#toLimit.add(tenantId);
    for (const tenantId of new Set([...this.#toLimit, ...this.routes.limited.keys()])) {
      const use = table.useOf(tenantId, now) ?? { open: 0, lately: 0, sources: new Map() };
      const own = { ...limits, ...this.routes.sessionLimitsOf(tenantId) };
      this.routes.limit(tenantId, limitedBy(use, own, this.routes.limited.get(tenantId) ?? []));
      this.#toLimit.delete(tenantId);
    }
  }

  #healthChanged(changed: string[]): void {
    this.#log.info({ changed: changed.slice(0, 20), count: changed.length }, "backend health changed");
    for (const backend of changed) this.#unwritten.add(backend);
    void this.#guard("health", () => this.#writeHealth());
  }

  /** A write that fails, for example on a full disk, is tried again in the next round. */
  async #writeHealth(): Promise<void> {
    if (this.#unwritten.size === 0) return;
    const changed = [...this.#unwritten];
    this.#unwritten.clear(); // those that change meanwhile are written again
    try {
      await this.routes.refresh(changed);
    } catch (error) {
      for (const backend of changed) this.#unwritten.add(backend);
      throw error;
    }
  }

  async #checkNginx(): Promise<void> {
    if (this.structure === undefined) return;
    const answer = await this.nginx.probe();
    this.#accepts = answer?.ready === "ready" && this.#applied.manifest !== undefined;
    if (answer?.ready === "unreadable")
      throw new Error("nginx's workers can't read the routes: check the folder's permissions");
    this.#missed = answer === undefined ? this.#missed + 1 : 0;
    if (answer === undefined) await this.nginx.restart(this.#missed);
    else if (this.nginx.pid() === undefined) throw new Error("nginx's master process is gone; its workers still serve");
    else if (!answer.notes) throw new Error("nginx's workers can't write sessions/opened: check its permissions");
  }

  #accusations(): { accuses?: string[] } {
    const accuses = this.neighbours.accused.slice(0, edgeLimits.accusedMax);
    return accuses.length === 0 ? {} : { accuses };
  }

  /** Counters that change alone are no news: they wait for the next report. */
  async #report(now: number): Promise<void> {
    const { region, reports } = this.#settings;
    const { closing, drain } = this.sessions.report((this.structure?.sessions.graceSeconds ?? 0) * 1000);
    const state = {
      region,
      appliedGeneration: this.generation,
      structure: this.structure?.hash,
      serving: this.serving,
      fullness: this.#fullness,
      ...this.#accusations(),
      rejectedRoutes: this.routes.rejected.slice(0, edgeLimits.rejectedRoutesMax),
      nack: this.#source.nack,
    };
    const news = JSON.stringify([
      state,
      drain?.phase,
      closing?.map(({ slot, closed, fault }) => [slot, closed, fault]),
    ]);
    if (news === this.#reported.news && now - this.#reported.at < reportEveryMs) return;
    const said = { ...state, closing: closing?.slice(0, closingTenantsMax), drain };
    const text = JSON.stringify(said);
    const at = Math.max(Date.now(), this.#reported.told + 1); // newer than the last report if the clock is set back
    const changedAt = text === this.#reported.text ? this.#reported.changedAt : at;
    const item = reportItem(reports.roleId, this.#identity.edgeId, { ...said, at, changedAt });
    await this.#cloud.putItem(reports.region, reports.table, item);
    this.#reported = { at: now, told: at, changedAt, news, text };
  }
}

/** The manifest's structure can't be used here. Its routes are served anyway. */
class StructureError extends Error {
  override readonly name = "StructureError";
  readonly generation: number;
  constructor(reason: string, generation: number) {
    super(reason);
    this.generation = generation;
  }
}
