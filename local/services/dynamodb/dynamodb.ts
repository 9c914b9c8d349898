/**
 * DynamoDB and its streams: an engine behind the gateway, with what the engine is kinder in than AWS: policies, conflicts,
 * throttling, unprocessed keys, stale reads, capacity. Facts and their sources are in docs/aws.md.
 */
import { Faults } from "../../faults.ts";
import { AwsError } from "../../gateway/error.ts";
import type { RawService } from "../../gateway/gateway.ts";
import type { WireRequest, WireResponse } from "../../gateway/http.ts";
import type { Call } from "../../gateway/service.ts";
import type { Caller, Iam } from "../../iam/iam.ts";
import { Capacity, takeUnits } from "./capacity.ts";
import { Conflicts, cancelled, none } from "./conflicts.ts";
import { Engine } from "./engine.ts";
import { Replica } from "./replica.ts";
import {
  accessOf,
  type BatchWrite,
  type DynamoRequest,
  isEventual,
  isRead,
  isWrite,
  parseRequest,
  type Touched,
  touchedBy,
} from "./request.ts";
import { withoutUnchanged } from "./stream-records.ts";

/** The engine writes its own region and account into ARNs. */
const engineArn = "arn:aws:dynamodb:dynoxide:000000000000:";
const shardTail = "-00000000";
/** The engine holds everything up while it reads a page: a short page is as good as a long one, and AWS may send one too. */
const scanItemsMax = 300;

const throughputExceeded =
  "The level of configured provisioned throughput for the table was exceeded. Consider increasing your provisioning level with the UpdateTable API.";
const throttled =
  "Throughput exceeds the current capacity of your table or index. DynamoDB is automatically scaling your table or index so please try again shortly. If exceptions persist, check if you have a hot key: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html";

export interface DynamoDbOptions {
  faults?: Faults;
  onFault?: (error: unknown, what: string) => void;
}

export class DynamoDb {
  readonly #engine: Engine;
  readonly #replica: Replica | undefined;
  readonly #faults: Faults;
  readonly #conflicts = new Conflicts();
  readonly #schemas = new Map<string, string[]>();
  /** With a replica, writes go one after the other, so that it can replay them in the engine's order. */
  #writes: Promise<unknown> = Promise.resolve();
  readonly capacity = new Capacity();
  /** Called with the table's name after each write, so that the stream's poller need not wait for its next turn. */
  onWrite: (table: string) => void = () => {};
  /** Called with every read, the number of its items and who reads, for measurements. Absent in ordinary runs. */
  onRead: ((operation: string, table: string, items: number, caller: Caller) => void) | undefined;

  private constructor(engine: Engine, replica: Replica | undefined, faults: Faults) {
    this.#engine = engine;
    this.#replica = replica;
    this.#faults = faults;
  }

  static async start({ faults = new Faults(), onFault = () => {} }: DynamoDbOptions = {}): Promise<DynamoDb> {
    const engine = await Engine.start();
    try {
      const replica =
        faults.rates.staleMs > 0
          ? new Replica(await Engine.start(), (error) => onFault(error, "the DynamoDB replica"))
          : undefined;
      return new DynamoDb(engine, replica, faults);
    } catch (error) {
      engine.stop();
      throw error;
    }
  }

  /** Where the engine itself listens. Only stream pollers and tests go there. */
  get endpoint(): string {
    return this.#engine.endpoint;
  }

  stop(): void {
    this.#engine.stop();
    this.#replica?.stop();
  }

  /** Answers in the engine's one region; other regions have no tables. */
  service(iam: Iam, region: string): RawService {
    return {
      signingName: "dynamodb",
      answer: (request, call) => {
        if (call.region !== region)
          throw new AwsError("ResourceNotFoundException", `Requested resource not found: tables here are in ${region}`);
        return this.#answer(request, call, iam);
      },
    };
  }

  /** Sends a request of the cloud itself, such as the creation of a table. */
  async boot(target: string, body: object): Promise<void> {
    const headers = {
      "x-amz-target": `DynamoDB_20120810.${target}`,
      "content-type": "application/x-amz-json-1.0",
      "x-amz-date": "20260101T000000Z",
      authorization:
        "AWS4-HMAC-SHA256 Credential=boot/20260101/us-west-2/dynamodb/aws4_request, SignedHeaders=host;x-amz-date, Signature=0",
    };
    const answer = await this.#pass({ operation: target, body }, { headers, body: Buffer.from(JSON.stringify(body)) });
    if (answer.status !== 200) throw new Error(`${target} failed: ${String(answer.body)}`);
  }

  async #answer(wire: WireRequest, call: Call, iam: Iam): Promise<WireResponse> {
    const request = parseRequest(wire.headers["x-amz-target"], wire.body.toString("utf8"));
    const schemas = (table: string) => this.#schemas.get(table);
    for (const table of tablesOf(request)) if (!this.#schemas.has(table)) await this.#learn(table, wire);
    const access = accessOf(request, schemas, call);
    for (const { action, resource, leadingKeys } of access)
      iam.check(call.caller, action, [resource], leadingKeys && { "dynamodb:LeadingKeys": leadingKeys });
    const { operation } = request;
    const isData = isRead(operation) || isWrite(operation) || operation === "TransactGetItems";
    if (!isData) return this.#answerAbout(request, wire, call);
    const items = touchedBy(request, schemas);
    this.#refuseAtTimes(request, items);
    this.#conflicts.check(request, items);
    const answer = await this.#sendWhole(request, wire, items);
    if (answer.status === 200) this.#notify(request, answer, access, call.caller);
    return answer;
  }

  /** What describes tables and streams contains the engine's region, and shard ids shorter than the AWS CLI accepts. */
  async #answerAbout(request: DynamoRequest, wire: WireRequest, call: Call): Promise<WireResponse> {
    const own = `arn:aws:dynamodb:${call.region}:${call.account}:`;
    const text = wire.body.toString("utf8").replaceAll(own, engineArn).replaceAll(shardTail, "");
    const answer = await this.#pass(request, { ...wire, body: Buffer.from(text) });
    const body = String(answer.body)
      .replaceAll(engineArn, own)
      .replace(/("(?:Parent)?ShardId":"[^"]+)"/g, `$1${shardTail}"`);
    return { ...answer, body: request.operation === "GetRecords" ? withoutUnchanged(body) : body };
  }

  /** @throws AwsError a throttle or a conflict, at the rates of the faults */
  #refuseAtTimes({ operation, body }: DynamoRequest, items: Touched[]): void {
    if (this.#faults.happens("dynamoThrottled")) {
      const names = ["ProvisionedThroughputExceededException", "ThrottlingException"] as const;
      if (operation === "TransactWriteItems" && this.#faults.random.chance(0.5)) {
        const at = this.#faults.random.below(items.length);
        throw cancelled(
          items.map((_, index) => (index === at ? { Code: "ThrottlingError", Message: throttled } : none)),
        );
      }
      const name = this.#faults.random.pick(names);
      throw new AwsError(name, name === "ThrottlingException" ? throttled : throughputExceeded);
    }
    if (operation === "TransactWriteItems" && this.#faults.happens("dynamoConflict")) {
      const at = this.#faults.random.below(body.TransactItems?.length ?? 1);
      const conflict = { Code: "TransactionConflict", Message: "Transaction is ongoing for the item" };
      throw cancelled(items.map((_, index) => (index === at ? conflict : none)));
    }
    const isHarsh = this.#replica !== undefined;
    if (isHarsh && this.capacity.isOver({ operation, body }, items))
      throw new AwsError("ThrottlingException", throttled);
  }

  /** Sends what of a batch is not left unprocessed, and adds to the answer what is. */
  async #sendWhole(request: DynamoRequest, wire: WireRequest, items: Touched[]): Promise<WireResponse> {
    const end = request.operation === "TransactWriteItems" ? this.#conflicts.begin(items) : () => {};
    try {
      const { sent, left } = this.#divide(request);
      const answer = await this.#count(sent, wire, items);
      if (left === undefined || answer.status !== 200) return answer;
      const member = request.operation === "BatchGetItem" ? "UnprocessedKeys" : "UnprocessedItems";
      const body = JSON.parse(String(answer.body)) as Record<string, object | undefined>;
      return { ...answer, body: JSON.stringify({ ...body, [member]: { ...body[member], ...left } }) };
    } finally {
      end();
    }
  }

  /** Which keys of a batch are sent, and which are left: never all of them, for then AWS throws. */
  #divide(request: DynamoRequest): { sent: DynamoRequest; left: object | undefined } {
    const { RequestItems } = request.body;
    if (RequestItems === undefined || !this.#faults.happens("dynamoUnprocessed"))
      return { sent: request, left: undefined };
    const [[table, asked] = ["", []], ...others] = Object.entries(RequestItems);
    const list: object[] = Array.isArray(asked) ? asked : (asked.Keys ?? []);
    if (list.length < 2) return { sent: request, left: undefined };
    const cut = 1 + this.#faults.random.below(list.length - 1);
    const part = (items: object[]) => (Array.isArray(asked) ? (items as BatchWrite[]) : { ...asked, Keys: items });
    const sent = Object.fromEntries([[table, part(list.slice(0, cut))], ...others]);
    return {
      sent: { ...request, body: { ...request.body, RequestItems: sent as typeof RequestItems } },
      left: { [table]: part(list.slice(cut)) },
    };
  }

  /** Asks the engine for the consumed units, counts them, and takes them out of the answer. */
  async #count(request: DynamoRequest, wire: WireRequest, items: Touched[]): Promise<WireResponse> {
    const { operation, body } = request;
    const asked = (body.ReturnConsumedCapacity ?? "NONE") !== "NONE";
    const more = {
      ...(asked ? {} : { ReturnConsumedCapacity: "TOTAL" }),
      ...(operation === "Scan" && body.Limit === undefined ? { Limit: scanItemsMax } : {}),
    };
    const text = Buffer.from(JSON.stringify({ ...body, ...more }));
    const answer = await this.#pass(request, { ...wire, body: text });
    if (answer.status !== 200) {
      if (isWrite(operation)) this.capacity.count(request, items, items.length); // a failed condition costs a unit an item
      return answer;
    }
    const taken = takeUnits(String(answer.body), asked);
    this.capacity.count(request, items, taken.units);
    return { ...answer, body: taken.answer };
  }

  async #pass(request: DynamoRequest, wire: Pick<WireRequest, "headers" | "body">): Promise<WireResponse> {
    if (this.#replica === undefined) return this.#engine.send(wire);
    if (isEventual(request)) return this.#replica.read(wire);
    const changes = isWrite(request.operation) || /^(Create|Update|Delete)Table$/.test(request.operation);
    if (!changes) return this.#engine.send(wire);
    const written = this.#writes.then(async () => {
      const answer = await this.#engine.send(wire);
      const isTable = /Table$/.test(request.operation);
      if (answer.status === 200)
        this.#replica?.replay(wire, isTable ? 0 : this.#faults.random.below(this.#faults.rates.staleMs));
      return answer;
    });
    this.#writes = written.catch(() => {});
    return written;
  }

  /** The key's attributes of a table, from the engine. A table that is not there has none yet. */
  async #learn(table: string, { headers }: WireRequest): Promise<void> {
    const answer = await this.#engine.send({
      headers: { ...headers, "x-amz-target": "DynamoDB_20120810.DescribeTable" },
      body: Buffer.from(JSON.stringify({ TableName: table })),
    });
    if (answer.status !== 200) return;
    const { Table } = JSON.parse(String(answer.body)) as {
      Table: { KeySchema: { AttributeName: string; KeyType: string }[] };
    };
    const keys = Table.KeySchema.toSorted((a) => (a.KeyType === "HASH" ? -1 : 1));
    this.#schemas.set(
      table,
      keys.map(({ AttributeName }) => AttributeName),
    );
  }

  #notify(request: DynamoRequest, answer: WireResponse, access: { resource: string }[], caller: Caller): void {
    const tables = new Set(access.map(({ resource }) => resource.slice(resource.lastIndexOf("/") + 1)));
    if (isWrite(request.operation)) for (const table of tables) this.onWrite(table);
    if (this.onRead !== undefined && isRead(request.operation))
      for (const table of tables) this.onRead(request.operation, table, itemsRead(request, answer), caller);
  }
}

const tablesOf = ({ operation, body }: DynamoRequest): string[] => {
  if (/Table$|Tables$|Stream|Shard|Records/.test(operation)) return [];
  const transacted = (body.TransactItems ?? []).map((item) => Object.values(item)[0]!.TableName);
  return [
    ...new Set([...transacted, ...Object.keys(body.RequestItems ?? {}), ...(body.TableName ? [body.TableName] : [])]),
  ];
};

/** A GetItem counts as one read, also for a missing item. A query counts the returned items. */
function itemsRead({ operation, body }: DynamoRequest, answer: WireResponse): number {
  if (operation === "GetItem") return 1;
  if (operation !== "BatchGetItem") return Number(/"Count":(\d+)/.exec(String(answer.body))?.[1] ?? 0);
  return Object.values(body.RequestItems ?? {}).reduce(
    (sum, asked) => sum + (Array.isArray(asked) ? 0 : (asked.Keys ?? []).length),
    0,
  );
}
