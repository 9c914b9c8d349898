/** The services that functions call: the embedded cloud's own, in this process, and two tables in memory. */
import type { DescribeInstancesCommandInput } from "@aws-sdk/client-ec2";
import type { PutEventsCommandInput } from "@aws-sdk/client-eventbridge";
import { edgeTags } from "../../core/edges/identity.ts";
import { AwsError } from "../../local/gateway/error.ts";
import type { Service } from "../../local/gateway/service.ts";
import { Kms } from "../../local/services/kms.ts";
import { S3 } from "../../local/services/s3/s3.ts";
import { Ssm } from "../../local/services/ssm.ts";
import type { Fleet } from "../../schemas/fleet.ts";
import { type PublicKeys, parseKeys } from "../../schemas/signed.ts";
import { manifestKey } from "../../schemas/snapshot.ts";
import { SimulatedAccelerator } from "./accelerator.ts";
import type { Instance } from "./edges.ts";
import { watchManifest, watchObjects } from "./laws.ts";
import type { RareState } from "./reached.ts";
import type { Schedule } from "./schedule.ts";
import { DynamoError, type TableOptions, Tables } from "./table.ts";

export const account = "123456789012";
export const tables = { tenants: "tenants", ledger: "ledger", reports: "reports", rollouts: "rollouts" };
/** The attributes of each table's key. */
export const tableKeys: Record<string, string[]> = {
  [tables.tenants]: ["tenantId"],
  [tables.ledger]: ["pk", "sk"],
  [tables.reports]: ["id"],
  [tables.rollouts]: ["pk", "sk"],
};
export const signingKey = "arn:aws:kms:us-west-2:123456789012:key/simulated";
const firstStructure = "5".repeat(64);

export interface Call {
  service: string;
  region: string;
  operation: string;
  input: Record<string, unknown>;
}

export type Answer = { value: unknown } | { error: Error };

const caller = { arn: "simulated", account, userId: "simulated" };
const call = (region: string) => ({ region, account, caller, requestId: "" });

export class Services {
  readonly tables: Tables;
  readonly keys: PublicKeys;
  readonly accelerator: SimulatedAccelerator;
  readonly #schedule: Schedule;
  readonly #instances: Instance[];
  readonly #s3: Service;
  readonly #s3Buckets: S3;
  readonly #regions = new Set<string>();
  readonly #ssm: Ssm;
  readonly #home: string;
  /** By cell. */
  readonly #structures: Record<string, string>;
  readonly #others: Record<string, Service>;
  readonly #throttled = new Map<string, number>();
  #conflicts = 0;
  #parts = 0;
  readonly #outUntil = new Map<string, number>();
  onRare: (state: RareState) => void = () => {};
  /** Is called with an instance that a function terminates. */
  onTerminate: (edgeId: string) => void = () => {};
  /** Is called for each event that a function puts on the bus. */
  onEvent: (detailType: string, detail: unknown) => void = () => {};

  /** Carries a call out. Whoever counts calls replaces it. */
  carryOut: (call: Call, perform: () => unknown) => unknown = (_, perform) => perform();

  /** `states` is called late, because Step Functions needs the functions, and these need the other services. */
  constructor(
    schedule: Schedule,
    fleet: Fleet,
    instances: Instance[],
    states: () => Service,
    options: TableOptions = { staleMs: 500 },
  ) {
    this.tables = new Tables(tableKeys, options);
    this.#instances = instances;
    this.#schedule = schedule;
    const s3 = new S3();
    const kms = new Kms();
    kms.createKey(signingKey);
    const ssm = new Ssm(account);
    this.#ssm = ssm;
    this.#s3Buckets = s3;
    this.#home = fleet.homeRegion;
    this.#structures = Object.fromEntries(fleet.cells.map(({ name }) => [name, firstStructure]));
    const settings = { structures: JSON.stringify(this.#structures), mode: "enforce", freeze: "off" };
    for (const [name, value] of Object.entries(settings)) this.#put(name, value);
    this.describe(fleet);
    this.accelerator = new SimulatedAccelerator(account, fleet, instances);
    this.#s3 = s3.service();
    const [kmsService, ssmService] = [kms.service(), ssm.service()];
    this.#others = {
      kms: kmsService,
      ssm: ssmService,
      get states() {
        return states();
      },
    };
    const { PublicKey } = kmsService.handlers.GetPublicKey!({ KeyId: signingKey } as never, call(fleet.homeRegion)) as {
      PublicKey: Uint8Array;
    };
    this.keys = parseKeys({ [signingKey]: PublicKey });
    this.#put("public-keys", JSON.stringify({ [signingKey]: Buffer.from(PublicKey).toString("base64") }));
  }

  /** The fleet from now on, with a bucket for each new region. */
  describe(fleet: Fleet): void {
    for (const [region, name] of Object.entries(fleet.buckets)) {
      if (this.#regions.has(region)) continue;
      this.#regions.add(region);
      this.#s3Buckets.createBucket(name, region, false);
      this.#s3Buckets.put(name, `objects/${firstStructure}`, "{}");
    }
    this.#put("fleet", JSON.stringify(fleet));
  }

  /** The cell's edges are to have a structure with this hash from now on. Every bucket gets its text. */
  wantStructure(cell: string, hash: string, text: string): void {
    for (const region of this.#regions) this.#s3Buckets.put(`snapshots-${region}`, `objects/${hash}`, text);
    this.#structures[cell] = hash;
    this.#put("structures", JSON.stringify(this.#structures));
  }

  #put(name: string, value: string): void {
    this.#ssm.put(this.#home, `/landfall/simulated/${name}`, value);
  }

  throttle(service: string, calls: number): void {
    this.#throttled.set(service, calls);
  }
  freeze(state: "on" | "off"): void {
    this.#put("freeze", state);
  }
  conflict(calls: number): void {
    this.#conflicts = calls;
  }
  readInParts(calls: number): void {
    this.#parts = calls;
  }
  takeOut(region: string, until: number): void {
    this.#outUntil.set(region, until);
  }
  isOut = (region: string) => (this.#outUntil.get(region) ?? 0) > this.#schedule.now;
  heal(): void {
    this.#throttled.clear();
    this.#conflicts = 0;
    this.#parts = 0;
    this.#outUntil.clear();
  }

  answer(service: string, region: string, operation: string, input: object): Answer {
    try {
      const left = this.#throttled.get(service) ?? 0;
      if (left > 0) {
        this.#throttled.set(service, left - 1);
        throw new AwsError("ThrottlingException", "Rate exceeded");
      }
      const copy = structuredClone(input) as Record<string, unknown>;
      const perform = () => this.#perform(service, region, operation, copy);
      return { value: this.carryOut({ service, region, operation, input: copy }, perform) };
    } catch (error) {
      if (isOurs(error as Error)) this.#schedule.fail(error);
      return { error: withStatus(error as Error) };
    }
  }

  #perform(service: string, region: string, operation: string, input: object): unknown {
    if (service === "dynamodb") return this.#onTables(operation, input as Record<string, unknown>);
    const name = operation.replace(/Command$/, "");
    if (service === "s3") return this.#onS3(region, name, input as Record<string, unknown>);
    if (service === "events") return this.#onEvents(input as PutEventsCommandInput);
    if (service === "globalaccelerator") return this.accelerator.perform(name, input, call(region));
    if (service === "ec2") return this.#onEc2(region, name, input as DescribeInstancesCommandInput);
    return this.#others[service]!.handlers[name]!(input as never, call(region)) ?? {};
  }

  #onTables(operation: string, input: Record<string, unknown>): unknown {
    if (/^(Put|Update|Delete|TransactWrite)/.test(operation) && this.#conflicts > 0) {
      this.#conflicts--;
      this.onRare("a write meets a conflict");
      if (operation !== "TransactWriteCommand") throw new DynamoError("TransactionConflictException", "conflict");
      const codes = (input.TransactItems as object[]).map((_, index) => ({
        Code: index === 0 ? "TransactionConflict" : "None",
      }));
      throw new DynamoError("TransactionCanceledException", "Transaction cancelled", codes);
    }
    if (operation === "TransactWriteCommand") return this.#transact(input);
    if (!operation.startsWith("Batch") || this.#parts === 0) return this.tables.send(operation, input);
    this.#parts--;
    return operation === "BatchGetCommand" ? this.#readPart(input) : this.#writePart(input);
  }

  #transact(input: Record<string, unknown>): unknown {
    const puts = (input.TransactItems as { Put?: { Item: { sk?: string } } }[]).map(({ Put }) => Put?.Item.sk);
    const isGroup = puts.filter((sk) => sk === "ROW").length > 1;
    try {
      const answer = this.tables.send("TransactWriteCommand", input);
      if (isGroup) this.onRare("tenants are admitted in one transaction");
      return answer;
    } catch (error) {
      if (isGroup) this.onRare("a group of tenants is admitted one by one");
      throw error;
    }
  }

  #readPart({ RequestItems }: Record<string, unknown>): unknown {
    const [[table, asked]] = Object.entries(RequestItems as Record<string, { Keys: object[] }>) as [
      [string, { Keys: object[] }],
    ];
    const most = Math.ceil(asked.Keys.length / 2);
    const part = { ...asked, Keys: asked.Keys.slice(0, most) };
    const rest = asked.Keys.slice(most);
    if (rest.length > 0) this.onRare("a batch read comes back in parts");
    return {
      ...(this.tables.send("BatchGetCommand", { RequestItems: { [table]: part } }) as object),
      UnprocessedKeys: rest.length === 0 ? {} : { [table]: { ...asked, Keys: rest } },
    };
  }

  #writePart({ RequestItems }: Record<string, unknown>): unknown {
    const [[table, requests]] = Object.entries(RequestItems as Record<string, object[]>) as [[string, object[]]];
    const most = Math.ceil(requests.length / 2);
    this.tables.send("BatchWriteCommand", { RequestItems: { [table]: requests.slice(0, most) } });
    const rest = requests.slice(most);
    return { UnprocessedItems: rest.length === 0 ? {} : { [table]: rest } };
  }

  #onEc2(region: string, operation: string, { InstanceIds = [] }: DescribeInstancesCommandInput): unknown {
    const found = this.#instances.filter((one) => one.region === region && InstanceIds.includes(one.edgeId));
    if (found.length === 0) throw new AwsError("InvalidInstanceID.NotFound", `${InstanceIds.join()} does not exist`);
    if (operation === "TerminateInstances") {
      for (const { edgeId } of found) this.onTerminate(edgeId);
      return {};
    }
    const Instances = found.map(({ edgeId, cell, state }, index) => ({
      InstanceId: edgeId,
      State: { Name: state },
      PrivateIpAddress: `10.9.0.${index + 1}`,
      Tags: [
        { Key: edgeTags.cell, Value: cell },
        { Key: edgeTags.stage, Value: "simulated" },
      ],
    }));
    return { Reservations: [{ Instances }] };
  }

  #onEvents({ Entries = [] }: PutEventsCommandInput): unknown {
    for (const { DetailType, Detail } of Entries) this.onEvent(DetailType!, JSON.parse(Detail!));
    return { FailedEntryCount: 0, Entries: Entries.map(() => ({ EventId: "simulated" })) };
  }

  #onS3(region: string, operation: string, input: Record<string, unknown>): unknown {
    if (this.isOut(region)) throw new AwsError("ServiceUnavailable", `${region} is out`, 503);
    const Body = typeof input.Body === "string" ? Buffer.from(input.Body) : input.Body;
    const isManifest = operation === "PutObject" && String(input.Key).startsWith("cells/");
    const before = isManifest ? this.object(region, String(input.Key)) : undefined;
    const output = this.#s3.handlers[operation]!({ ...input, Body } as never, call(region)) as
      | Record<string, unknown>
      | undefined;
    if (isManifest) watchManifest(before, String(input.Body), this.keys);
    if (operation === "DeleteObject") this.onRare("an object is deleted");
    if (isManifest || operation === "DeleteObject") this.#watchObjects(region);
    const bytes = output?.Body as Uint8Array | undefined;
    if (bytes === undefined) return output ?? {};
    return { ...output, Body: { transformToString: async () => Buffer.from(bytes).toString("utf8") } };
  }

  #watchObjects(region: string): void {
    const manifests = Object.keys(this.#structures).flatMap((cell) => this.object(region, manifestKey(cell)) ?? []);
    watchObjects(manifests, (key) => this.object(region, key));
  }

  /** An object in a region's bucket, even while the region is out. */
  object(region: string, key: string): string | undefined {
    try {
      const input = { Bucket: `snapshots-${region}`, Key: key };
      const { Body } = this.#s3.handlers.GetObject!(input as never, call(region)) as { Body: Uint8Array };
      return Buffer.from(Body).toString("utf8");
    } catch (error) {
      if (error instanceof Error && error.name === "NoSuchKey") return undefined;
      throw error;
    }
  }
}

/** A broken law or a fault of the simulation, not a service's error response. */
const isOurs = (error: Error) =>
  !(error instanceof DynamoError && error.name !== "ValidationException") &&
  !(error instanceof AwsError) &&
  !("$metadata" in error);

function withStatus(error: Error): Error {
  if (error instanceof AwsError) return Object.assign(error, { $metadata: { httpStatusCode: error.status } });
  return error.name === "NoSuchKey" ? Object.assign(error, { $metadata: { httpStatusCode: 404 } }) : error;
}
