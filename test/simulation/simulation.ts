/**
 * A whole control plane in one thread and in virtual time: the real handlers and state machines, and the embedded cloud's
 * own services, where one call after the other takes effect in an order that the seed decides. Laws are watched at every step.
 */
import { readFileSync } from "node:fs";
import path from "node:path";
import { setImmediate as drained } from "node:timers/promises";
import FakeTimers from "@sinonjs/fake-timers";
import type { Context } from "aws-lambda";
import { absent, type TenantRow } from "../../core/admission/tenant-row.ts";
import { validateRecord } from "../../core/admission/validate.ts";
import { canonicalJson } from "../../core/canonical.ts";
import { AwsError } from "../../local/gateway/service.ts";
import { Kms } from "../../local/services/kms.ts";
import { S3 } from "../../local/services/s3.ts";
import { Ssm } from "../../local/services/ssm.ts";
import { StatesError } from "../../local/services/states/expressions.ts";
import { States } from "../../local/services/states/states.ts";
import type { Cell, Fleet } from "../../schemas/fleet.ts";
import { type PublicKeys, parseKeys, sha256 } from "../../schemas/signed.ts";
import { converged } from "./convergence.ts";
import { SimulatedEdge } from "./edges.ts";
import { type Code, type FunctionName, functionNames, type Handler, instantiate } from "./functions.ts";
import { Breach, watchCommit, watchManifest, watchServed } from "./laws.ts";
import { Random } from "./random.ts";
import { type Happening, type Script, troubleMs } from "./script.ts";
import { DynamoError, Tables } from "./table.ts";

const account = "123456789012";
const regions = ["us-west-2", "eu-west-3"];
const home = regions[0]!;
const key = "arn:aws:kms:us-west-2:123456789012:key/simulated";
export const tables = { tenants: "tenants", ledger: "ledger" };
const begin = Date.parse("2026-01-01T00:00:00Z");
/** How long it may take until everything is as desired, once nothing fails any more. */
const healMs = 30 * 60_000;
/** More often than in a deployment: what takes hours there is to happen here. */
const auditMs = 100_000;
const pollMs = 2000;
const reportMs = 10_000;
const structure = "5".repeat(64);
const timeoutSeconds: Partial<Record<FunctionName, number>> = {
  "admit-tenants": 120,
  "publish-cell": 60,
  "settle-rollout": 120,
  "free-tombstones": 300,
  "find-drift": 300,
  "sweep-snapshots": 300,
};

/** What every function finds in its environment; read when it is evaluated. */
Object.assign(process.env, {
  LANDFALL_STAGE: "simulated",
  LANDFALL_TENANTS_TABLE: tables.tenants,
  LANDFALL_LEDGER_TABLE: tables.ledger,
  LANDFALL_BUS: "bus",
  LANDFALL_SIGNING_KEY: key,
  LANDFALL_ROLLOUT_MACHINE: "arn:aws:states:us-west-2:123456789012:stateMachine:tenant-rollout",
  POWERTOOLS_LOG_LEVEL: "SILENT",
});

const cellOf = (name: string): Cell => ({
  name,
  listenerArn: `arn:${name}`,
  regions,
  portBase: 10000,
  portCount: 4,
  tlsCount: 5,
  tlsPort: 443,
  edgeTlsPort: 8443,
  healthPort: 8080,
});

export interface Outcome {
  breach: string | undefined;
  /** What happened, in order, in virtual milliseconds. */
  history: string[];
  calls: number;
}

interface Invocation {
  id: string;
  fn: FunctionName;
  over: boolean;
  fail: (error: Error) => void;
}

interface Operation {
  notBefore: number;
  run: () => void;
  of?: Invocation;
}

export class Simulation {
  readonly fleet: Fleet;
  readonly edges: SimulatedEdge[];
  readonly tables: Tables;
  readonly #random: Random;
  readonly #code: Code;
  readonly #script: Script;
  readonly #clock = FakeTimers.install({
    shouldClearNativeTimers: true,
    now: begin,
    toFake: ["Date", "setTimeout", "clearTimeout", "setInterval", "clearInterval"],
  });
  readonly #operations: Operation[] = [];
  readonly #warm = new Map<FunctionName, { handler: Handler; invocation: { current: Invocation | undefined } }[]>();
  readonly #s3 = new S3();
  readonly #ssm = new Ssm(account);
  readonly #kms = new Kms();
  readonly #states: States;
  readonly #keys: PublicKeys;
  readonly #stream: { sequence: string; tenantId: string; image: object | undefined }[] = [];
  #delivered = 0;
  #delivering = false;
  readonly history: string[] = [];
  readonly #armed: Extract<Happening, { kind: "crash" | "stall" }>[] = [];
  readonly #throttled = new Map<string, number>();
  readonly #outUntil = new Map<string, number>();
  /** Which version of its record each row has. */
  readonly #rowAt = new Map<string, number>();
  #requests = 0;
  #ids = 0;
  #breach: string | undefined;

  constructor(script: Script, code: Code) {
    this.#script = script;
    this.#code = code;
    this.#random = new Random(script.seed ^ 0x5eed);
    const cells = script.seed % 3 === 0 ? ["c1", "c2"] : ["c1"];
    this.fleet = {
      stage: "simulated",
      homeRegion: home,
      buckets: Object.fromEntries(regions.map((region) => [region, `snapshots-${region}`])),
      nearest: { "us-west-2": ["us-west-2", "eu-west-3"], "eu-west-3": ["eu-west-3", "us-west-2"] },
      cells: cells.map(cellOf),
      backendRanges: ["10.0.0.0/8"],
      platformDomains: ["tenants.example.com"],
      endpointDomain: "landfall.example.com",
      reservedNames: [],
      coolOffSeconds: { slot: 30, name: 30 },
      structureBakeSeconds: 30,
    };
    this.edges = cells.flatMap((cell) =>
      ["us-west-2", "eu-west-3", "eu-west-3"].map(
        (region, index) => new SimulatedEdge(`${cell}-${index}`, cell, region),
      ),
    );
    this.tables = new Tables({ [tables.tenants]: ["tenantId"], [tables.ledger]: ["pk", "sk"] });
    this.tables.onWrite = (table, old, now) => this.#watchTable(table, old, now);
    for (const region of regions) {
      this.#s3.createBucket(`snapshots-${region}`, region, false);
      this.#s3.put(`snapshots-${region}`, `objects/${structure}`, "{}");
    }
    this.#kms.createKey(key);
    const { PublicKey } = this.#kms.service().handlers.GetPublicKey!({ KeyId: key } as never, this.#call(home)) as {
      PublicKey: Uint8Array;
    };
    this.#keys = parseKeys({ [key]: PublicKey });
    const settings = { fleet: JSON.stringify(this.fleet), mode: "enforce", freeze: "off" };
    const structures = JSON.stringify(Object.fromEntries(cells.map((cell) => [cell, structure])));
    for (const [name, value] of Object.entries({ ...settings, structures }))
      this.#ssm.put(home, `/landfall/simulated/${name}`, value);
    this.#states = new States({
      account,
      transitionMs: 5,
      invoke: (_, name, payload) => this.#invokeForMachine(name as FunctionName, payload),
      onFailed: ({ identity, error }) => this.#note(`execution ${identity.name} failed: ${error}`),
    });
    for (const machine of ["tenant-rollout", "reconcile", "audit"])
      this.#states.createMachine(home, machine, `arn:aws:iam::${account}:role/r`, definitionOf(machine));
  }

  get now(): number {
    return Date.now() - begin;
  }

  /** Runs the script, heals everything, and waits for the desired state. */
  async run(): Promise<Outcome> {
    const random = Math.random;
    Math.random = this.#random.next; // retries' jitter
    const globals = globalThis as { simulatedImages?: unknown };
    globals.simulatedImages = (sequences: Record<string, string> = {}) => this.#images(sequences);
    try {
      this.#schedule();
      await this.#go(troubleMs, () => false);
      this.#heal();
      const healed = this.now;
      const done = await this.#go(healed + healMs, () => this.now - healed > 60_000 && converged(this).length === 0);
      if (!done && this.#breach === undefined)
        this.#breach = `law 7: not as desired ${healMs / 60_000} minutes after the last fault: ${converged(this).slice(0, 4).join("; ")}`;
    } catch (error) {
      this.#breach ??= error instanceof Breach ? error.message : `failed: ${(error as Error).stack}`;
    } finally {
      this.#states.stop();
      for (const { of } of this.#operations) of?.fail(new Error("the simulation is over"));
      await drained();
      this.#clock.uninstall();
      Math.random = random;
      delete globals.simulatedImages;
    }
    return { breach: this.#breach, history: this.history, calls: this.#requests };
  }

  #note(what: string): void {
    this.history.push(`${String(this.now).padStart(8)} ${what}`);
  }

  /** One step after the other until the time, or until the condition holds, which is looked at once a virtual second. */
  async #go(until: number, condition: () => boolean): Promise<boolean> {
    let looked = this.now;
    for (;;) {
      await drained();
      if (this.#breach !== undefined) throw new Breach(this.#breach);
      if (this.now >= until) return false;
      if (this.now - looked >= 1000) {
        looked = this.now;
        if (condition()) return true;
      }
      const ready = this.#operations.filter(({ notBefore }) => notBefore <= this.now);
      if (ready.length === 0) {
        this.#advance(until);
        continue;
      }
      const chosen = this.#random.pick(ready);
      this.#operations.splice(this.#operations.indexOf(chosen), 1);
      chosen.run();
      if (this.#random.chance(0.5)) this.#clock.tick(this.#random.between(1, 15));
    }
  }

  /** To the next thing that is due: a timer, or an operation that waits. */
  #advance(until: number): void {
    const waiting = this.#operations.map(({ notBefore }) => notBefore - this.now);
    const next = Math.min(...waiting, until - this.now);
    const target = this.now + next;
    const timer = this.#clock.countTimers() > 0;
    if (!timer) return void this.#clock.tick(Math.max(1, next));
    const before = Date.now();
    this.#clock.next();
    if (this.now > target && next > 0) return; // a timer further away than what waits: time went on, which is all right
    if (Date.now() === before) return;
  }

  #schedule(): void {
    for (const happening of this.#script.happenings) setTimeout(() => this.#happen(happening), happening.at);
    for (const edge of this.edges) {
      const jitter = this.#random.below(pollMs);
      setTimeout(() => setInterval(() => this.#poll(edge), pollMs), jitter);
      setTimeout(() => setInterval(() => this.#report(edge), reportMs), jitter + 500);
    }
    const cells = this.fleet.cells.map(({ name }) => name);
    this.#start("reconcile", { cells });
    setInterval(() => this.#start("reconcile", { cells }), 60_000);
    setInterval(() => this.#start("audit", {}), auditMs);
  }

  #start(machine: string, input: object): void {
    this.#states.startExecution(
      `arn:aws:states:${home}:${account}:stateMachine:${machine}`,
      `${machine}-${this.#ids++}`,
      JSON.stringify(input),
    );
  }

  #happen(happening: Happening): void {
    const { at: _, kind, ...rest } = happening;
    this.#note(`${kind} ${canonicalJson(rest)}`);
    const until = "ms" in happening ? this.now + happening.ms : 0;
    const edge = "edge" in happening ? this.edges[happening.edge % this.edges.length]! : undefined;
    switch (happening.kind) {
      case "put":
        return void this.tables.send("PutCommand", { TableName: tables.tenants, Item: happening.record });
      case "delete":
        return void this.tables.send("DeleteCommand", {
          TableName: tables.tenants,
          Key: { tenantId: happening.tenantId },
        });
      case "crash":
      case "stall":
        return void this.#armed.push({ ...happening });
      case "throttle":
        return void this.#throttled.set(happening.service, happening.calls);
      case "region-out":
        return void this.#outUntil.set(regions[happening.region]!, until);
      case "cut-off":
        edge!.cutOffUntil = until;
        if (happening.silent) edge!.unheardUntil = until;
        return;
      case "lag":
        edge!.lagUntil = until;
        return;
      case "unheard":
        edge!.unheardUntil = until;
        return;
      case "redeliver": {
        const from = Math.max(0, this.#delivered - happening.back);
        const again = this.#stream.slice(from, from + happening.count).toReversed();
        if (again.length > 0) this.#later(0, () => void this.#deliver(again).catch(() => {}));
        return;
      }
      default:
        return this.#start(happening.kind, { cells: this.fleet.cells.map(({ name }) => name) });
    }
  }

  #heal(): void {
    this.#note("nothing fails any more");
    this.#armed.length = 0;
    this.#throttled.clear();
    this.#outUntil.clear();
    for (const edge of this.edges) Object.assign(edge, { cutOffUntil: 0, unheardUntil: 0, lagUntil: 0 });
  }

  #later(ms: number, run: () => void, of?: Invocation): void {
    this.#operations.push({ notBefore: this.now + ms, run, ...(of === undefined ? {} : { of }) });
  }

  // --- Lambda -------------------------------------------------------------------------------------------------------

  async #invokeForMachine(name: FunctionName, payload: unknown): Promise<unknown> {
    if (!functionNames.includes(name)) return {}; // failover is not simulated here
    try {
      return JSON.parse(JSON.stringify((await this.#invoke(name, payload)) ?? null)) as unknown;
    } catch (error) {
      throw new StatesError((error as Error).name, (error as Error).message);
    }
  }

  /** An invocation in a warm instance or a new one; it fails by its own error, by a crash, or by its timeout. */
  #invoke(fn: FunctionName, event: unknown): Promise<unknown> {
    const idle = this.#warm.get(fn) ?? [];
    this.#warm.set(fn, idle);
    const instance = this.#random.chance(0.95) ? (idle.pop() ?? this.#instance(fn)) : this.#instance(fn);
    const id = `r-${++this.#ids}`;
    const seconds = timeoutSeconds[fn] ?? 30;
    const deadline = Date.now() + seconds * 1000;
    return new Promise((resolve, reject) => {
      const end = (settle: () => void) => {
        if (invocation.over) return;
        invocation.over = true;
        clearTimeout(timer);
        settle();
      };
      const invocation: Invocation = { id, fn, over: false, fail: (error) => end(() => reject(error)) };
      const timer = setTimeout(() => invocation.fail(named("Sandbox.Timedout", `${fn} timed out`)), seconds * 1000);
      const done = (settle: () => void) =>
        end(() => {
          idle.push(instance);
          settle();
        });
      instance.invocation.current = invocation;
      const context = {
        awsRequestId: id,
        functionName: fn,
        getRemainingTimeInMillis: () => deadline - Date.now(),
      } as Context;
      instance.handler(structuredClone(event), context).then(
        (result) => done(() => resolve(result)),
        (error: Error) => {
          if (error instanceof TypeError || error instanceof ReferenceError) this.#breach ??= `failed: ${error.stack}`;
          this.#note(`${fn} fails: ${error.name} ${error.message.slice(0, 160)}`);
          done(() => reject(error));
        },
      );
    });
  }

  #instance(fn: FunctionName) {
    const invocation: { current: Invocation | undefined } = { current: undefined };
    const send = (service: string, region: string, operation: string, input: object) =>
      this.#request(invocation.current!, service, region, operation, input);
    return { handler: instantiate(this.#code.get(fn)!, send, this.#random.next), invocation };
  }

  /** A call: it reaches the service some time later, takes effect, and its answer comes some time after that. */
  #request(by: Invocation, service: string, region: string, operation: string, input: object): Promise<unknown> {
    this.#requests++;
    const frozen = structuredClone(input);
    return new Promise((resolve, reject) => {
      if (by.over) return; // its instance is gone
      const fault = this.#faultFor(by, operation);
      if (fault?.kind === "crash" && !fault.effect) return this.#crash(by, operation, "before");
      const delay = fault?.kind === "stall" ? fault.ms : this.#random.chance(0.1) ? this.#random.below(200) : 0;
      this.#later(delay, () => {
        const answer = this.#answer(service, region, operation, frozen);
        if (fault?.kind === "crash") return this.#crash(by, operation, "after");
        const give = () => {
          if (by.over) return;
          if ("error" in answer) reject(answer.error);
          else resolve(answer.value);
        };
        if (this.#random.chance(0.3)) this.#later(0, give);
        else give();
      });
    });
  }

  #faultFor({ fn }: Invocation, operation: string) {
    const index = this.#armed.findIndex(
      (armed) => armed.fn === fn && (armed.operation === undefined || armed.operation === operation),
    );
    const found = this.#armed[index];
    if (found === undefined || found.skip-- > 0) return undefined;
    this.#armed.splice(index, 1);
    return found;
  }

  #crash(by: Invocation, operation: string, when: string): void {
    this.#note(`${by.fn} dies ${when} ${operation}`);
    by.fail(named("Lambda.Unknown", "the instance died"));
  }

  // --- services -----------------------------------------------------------------------------------------------------

  #call = (region: string) => ({ region, account, caller: "simulated", requestId: "" });

  #answer(service: string, region: string, operation: string, input: object): { value: unknown } | { error: Error } {
    try {
      const left = this.#throttled.get(service) ?? 0;
      if (left > 0) {
        this.#throttled.set(service, left - 1);
        throw Object.assign(named("ThrottlingException", "Rate exceeded"), { $retryable: { throttling: true } });
      }
      return { value: this.#perform(service, region, operation, input) };
    } catch (error) {
      if (error instanceof Breach) this.#breach ??= error.message;
      else if (!(error instanceof Error) || isBroken(error)) this.#breach ??= `failed: ${(error as Error).stack}`;
      return { error: withStatus(error as Error) };
    }
  }

  #perform(service: string, region: string, operation: string, input: object): unknown {
    if (service === "dynamodb") return this.tables.send(operation, input as Record<string, unknown>);
    const name = operation.replace(/Command$/, "");
    if (service === "s3") return this.#onS3(region, name, input as Record<string, unknown>);
    if (service === "events") return this.#onEvents(input as { Entries: { DetailType: string }[] });
    if (service === "globalaccelerator") return { EndpointGroups: [] };
    if (service === "ec2") return { Reservations: [{ Instances: [{ State: { Name: "running" } }] }] };
    const services = { states: this.#states.service(), ssm: this.#ssm.service(), kms: this.#kms.service() };
    const { handlers } = services[service as keyof typeof services];
    return handlers[name]!(input as never, this.#call(region)) ?? {};
  }

  #onS3(region: string, operation: string, input: Record<string, unknown>): unknown {
    if ((this.#outUntil.get(region) ?? 0) > this.now)
      throw Object.assign(named("ServiceUnavailable", `${region} is out`), { $fault: "server" });
    const Body = typeof input.Body === "string" ? Buffer.from(input.Body) : input.Body;
    const isManifest = operation === "PutObject" && String(input.Key).startsWith("cells/");
    const before = isManifest ? this.object(region, String(input.Key)) : undefined;
    const output = this.#s3.service().handlers[operation]!({ ...input, Body } as never, this.#call(region)) as
      | Record<string, unknown>
      | undefined;
    if (isManifest) watchManifest(before, String(input.Body), { ...this.#watched, keys: this.#keys });
    const bytes = output?.Body as Uint8Array | undefined;
    if (bytes === undefined) return output ?? {};
    return { ...output, Body: { transformToString: async () => Buffer.from(bytes).toString("utf8") } };
  }

  #onEvents({ Entries }: { Entries: { DetailType: string }[] }): unknown {
    return { FailedEntryCount: 0, Entries: Entries.map(() => ({})) };
  }

  /** What stands in a region's bucket, whoever may reach it. */
  object(region: string, key: string): string | undefined {
    try {
      const { Body } = this.#s3.service().handlers.GetObject!(
        { Bucket: `snapshots-${region}`, Key: key } as never,
        this.#call(region),
      ) as {
        Body: Uint8Array;
      };
      return Buffer.from(Body).toString("utf8");
    } catch (error) {
      if (error instanceof Error && error.name === "NoSuchKey") return undefined;
      throw error;
    }
  }

  // --- stream, edges ------------------------------------------------------------------------------------------------

  #watchTable(table: string, old: Record<string, unknown> | undefined, now: Record<string, unknown> | undefined): void {
    if (table === tables.tenants) {
      const sequence = String(this.#stream.length + 1).padStart(21, "0");
      this.#stream.push({ sequence, tenantId: String((now ?? old)!.tenantId), image: now });
      this.#later(this.#random.below(400), () => void this.#drainStream());
      return;
    }
    const { pk, sk } = (now ?? old) as { pk: string; sk: string };
    if (sk === "COMMIT") {
      const { commit } = (now ?? {}) as { commit?: { generation: number } };
      this.#note(`commit ${pk} ${commit?.generation}`);
      watchCommit(old, now, this.#watched);
    }
    if (sk === "ROW") this.#watchRow(now?.row as TenantRow | undefined);
    if (sk === "SLOT" || sk === "CLAIM") watchServed(this.#watched);
  }

  /** Law 7: however late or often a handler runs, a row never goes back to an older record. */
  #watchRow(row: TenantRow | undefined): void {
    if (row === undefined) throw new Breach("law 7: a row was deleted");
    const versions = this.#stream.filter(({ tenantId }) => tenantId === row.tenantId);
    const at = versions.findLastIndex(({ image }) => hashOf(image) === row.hash);
    const before = this.#rowAt.get(row.tenantId) ?? -1;
    if (row.hash !== absent && at < before)
      throw new Breach(`law 7: the row of ${row.tenantId} goes back from its record's version ${before} to ${at}`);
    this.#rowAt.set(row.tenantId, Math.max(at, before));
  }

  get #watched() {
    return {
      edges: this.edges,
      ledger: (pk: string, sk: string) => this.tables.item(tables.ledger, pk, sk),
      object: (key: string) => this.object(home, key),
      keys: this.#keys,
    };
  }

  /** In order, one batch at a time; a batch that fails is delivered again. */
  async #drainStream(): Promise<void> {
    if (this.#delivering) return;
    this.#delivering = true;
    try {
      while (this.#delivered < this.#stream.length) {
        const batch = this.#stream.slice(this.#delivered, this.#delivered + this.#random.between(1, 5));
        try {
          await this.#deliver(batch);
        } catch {
          await new Promise((resolve) => setTimeout(resolve, 500));
          continue;
        }
        this.#delivered += batch.length;
      }
    } finally {
      this.#delivering = false;
    }
  }

  #deliver(batch: { sequence: string; tenantId: string }[]): Promise<unknown> {
    const Records = batch.map(({ sequence, tenantId }) => ({
      eventSourceARN: "arn:stream",
      dynamodb: { SequenceNumber: sequence, Keys: { tenantId: { S: tenantId } } },
    }));
    return this.#invoke("start-rollout", { Records });
  }

  #images(sequences: Record<string, string>) {
    const known = new Map(this.#stream.map(({ sequence, image }) => [sequence, image]));
    if (Object.keys(sequences).length === 0) return () => undefined;
    return (tenantIds: string[]) =>
      new Map(
        tenantIds.flatMap((id) => {
          const image = known.get(sequences[id] ?? "");
          return image === undefined ? [] : [[id, image] as const];
        }),
      );
  }

  #poll(edge: SimulatedEdge): void {
    const out = (this.#outUntil.get(edge.region) ?? 0) > this.now;
    if (out || edge.cutOffUntil > this.now || edge.lagUntil > this.now) return;
    const changed = edge.pull((region, key) => this.object(region, key), this.#keys);
    if (!changed) return;
    try {
      watchServed(this.#watched);
    } catch (error) {
      this.#breach ??= (error as Error).message;
    }
    this.#report(edge);
  }

  /** An event, at least once: late sometimes, twice sometimes, and not at all while nobody hears the edge. */
  #report(edge: SimulatedEdge): void {
    if (edge.unheardUntil > this.now) return;
    const event = {
      id: String(++this.#ids),
      source: "landfall.edge",
      "detail-type": "Edge Report",
      time: new Date().toISOString(),
      detail: edge.report(Date.now()),
    };
    const trouble = this.now < troubleMs;
    for (let copies = trouble && this.#random.chance(0.05) ? 2 : 1; copies > 0; copies--)
      this.#later(
        trouble && this.#random.chance(0.1) ? this.#random.below(20_000) : this.#random.below(50),
        () => void this.#deliverReport(event, 3),
      );
  }

  async #deliverReport(event: object, tries: number): Promise<void> {
    try {
      await this.#invoke("record-edge-report", event);
    } catch {
      if (tries > 1) setTimeout(() => void this.#deliverReport(event, tries - 1), 1000);
    }
  }

  /** The record of each tenant that there is, and what admission would make of it. */
  records() {
    return new Map(
      this.tables
        .all(tables.tenants)
        .map((record) => [String(record.tenantId), { record, validated: validateRecord(record, this.fleet) }]),
    );
  }
}

const hashOf = (image: object | undefined) => (image === undefined ? absent : sha256(canonicalJson(image)));

const named = (name: string, message: string): Error => Object.assign(new Error(message), { name });

/** A fault of the simulation, not of the simulated. */
const isBroken = (error: Error) =>
  !(error instanceof DynamoError && error.name !== "ValidationException") &&
  !(error instanceof AwsError) &&
  !("$metadata" in error) &&
  !("$retryable" in error) &&
  !("$fault" in error);

function withStatus(error: Error): Error {
  if (error instanceof AwsError) return Object.assign(error, { $metadata: { httpStatusCode: error.status } });
  const status = error.name === "NoSuchKey" ? 404 : undefined;
  return status === undefined ? error : Object.assign(error, { $metadata: { httpStatusCode: status } });
}

const stepflows = path.resolve(import.meta.dirname, "../../stepflows");
/** The real definition; each function's placeholder is its file's name. */
function definitionOf(machine: string): string {
  const text = readFileSync(path.join(stepflows, `${machine}.asl.json`), "utf8");
  return text.replaceAll(/\$\{(\w+)\}/g, (_, name: string) =>
    name.replaceAll(/[A-Z]/g, (letter, at: number) => `${at > 0 ? "-" : ""}${letter.toLowerCase()}`),
  );
}
