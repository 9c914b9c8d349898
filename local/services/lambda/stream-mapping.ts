/** Delivers a DynamoDB stream to a function, as Lambda's event source mapping does. */
import { randomUUID } from "node:crypto";
import {
  type _Record,
  DescribeStreamCommand,
  DynamoDBStreamsClient,
  GetRecordsCommand,
  type GetRecordsCommandOutput,
  GetShardIteratorCommand,
  ListStreamsCommand,
} from "@aws-sdk/client-dynamodb-streams";
import { type EventPattern, matchesPattern } from "../events/pattern.ts";
import type { Invocation } from "./function.ts";

export interface MappingConfig {
  uuid: string;
  table: string;
  streamArn: string;
  functionArn: string;
  region: string;
  batchSize: number;
  windowMs: number;
  retries: number;
  maxAgeMs: number;
  bisect: boolean;
  reportsFailures: boolean;
  filters: EventPattern[];
  /** The delay from a stream record to the function, from the latency profile. */
  delayMs: number;
}

export interface MappingPorts {
  endpoint: string;
  invoke(event: string): Promise<Invocation>;
  /** Stores a batch that failed for good. */
  fail(key: string, body: string): void;
  onFault(error: unknown): void;
}

export interface StreamRecord {
  eventID: string;
  eventName: string;
  eventVersion: string;
  eventSource: string;
  awsRegion: string;
  eventSourceARN: string;
  dynamodb: Record<string, unknown> & { SequenceNumber: string; ApproximateCreationDateTime: number };
}

const pollMs = 100;
const retryMs = 200;

export class StreamMapping {
  readonly #config: MappingConfig;
  readonly #ports: MappingPorts;
  readonly #client: DynamoDBStreamsClient;
  #stopped = false;
  #wake = () => {};
  readonly table: string;
  #done: Promise<void> = Promise.resolve();

  constructor(config: MappingConfig, ports: MappingPorts) {
    this.#config = config;
    this.table = config.table;
    this.#ports = ports;
    this.#client = new DynamoDBStreamsClient({
      endpoint: ports.endpoint,
      region: config.region,
      credentials: { accessKeyId: "mapping", secretAccessKey: "mapping" },
    });
  }

  start(): void {
    this.#done = this.#run();
  }

  /** New records were written: ends the wait for the next poll. */
  nudge(): void {
    this.#wake();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#wake();
    await this.#done;
    this.#client.destroy();
  }

  async #run(): Promise<void> {
    const iterators = new Map<string, string | undefined>();
    let stream: string | undefined;
    while (!this.#stopped) {
      try {
        stream ??= (await this.#client.send(new ListStreamsCommand({ TableName: this.#config.table }))).Streams?.[0]
          ?.StreamArn;
        for (const shard of stream === undefined ? [] : await this.#shards(stream)) {
          if (!iterators.has(shard)) iterators.set(shard, await this.#iterator(stream!, shard));
          iterators.set(shard, await this.#poll(shard, iterators.get(shard)));
        }
      } catch (error) {
        if (!this.#stopped) this.#ports.onFault(error);
        iterators.clear();
      }
      await this.#pause(pollMs);
    }
  }

  async #shards(stream: string): Promise<string[]> {
    const { StreamDescription } = await this.#client.send(new DescribeStreamCommand({ StreamArn: stream }));
    return (StreamDescription?.Shards ?? []).map((shard) => shard.ShardId!);
  }

  async #iterator(stream: string, shard: string): Promise<string | undefined> {
    const ask = { StreamArn: stream, ShardId: shard };
    const after = this.#checkpoints.get(shard);
    const from =
      after === undefined
        ? ({ ShardIteratorType: "TRIM_HORIZON" } as const)
        : ({ ShardIteratorType: "AFTER_SEQUENCE_NUMBER", SequenceNumber: after } as const);
    return (await this.#client.send(new GetShardIteratorCommand({ ...ask, ...from }))).ShardIterator;
  }

  /** Shard → its last finished record: delivered, or given up on. */
  readonly #checkpoints = new Map<string, string>();

  async #poll(shard: string, iterator: string | undefined): Promise<string | undefined> {
    if (iterator === undefined) return undefined;
    let next: string | undefined = iterator;
    const records: StreamRecord[] = [];
    const until = Date.now() + this.#config.windowMs;
    do {
      const answer: GetRecordsCommandOutput = await this.#client.send(
        new GetRecordsCommand({ ShardIterator: next, Limit: Math.min(1000, this.#config.batchSize - records.length) }),
      );
      records.push(...(answer.Records ?? []).map((record) => this.#recordOf(record)));
      next = answer.NextShardIterator;
      if ((answer.Records?.length ?? 0) === 0) {
        if (records.length === 0 || Date.now() >= until) break;
        await this.#pause(Math.min(pollMs, until - Date.now()));
      }
    } while (records.length < this.#config.batchSize && next !== undefined && !this.#stopped);
    const last = records.at(-1);
    if (last === undefined) return next;
    await this.#pauseFully(this.#config.delayMs);
    const wanted = records.filter((record) => this.#passes(record));
    if (wanted.length > 0) await this.#deliver(shard, wanted, this.#config.retries);
    if (!this.#stopped) this.#checkpoints.set(shard, last.dynamodb.SequenceNumber);
    return next;
  }

  #passes(record: StreamRecord): boolean {
    const { filters } = this.#config;
    return filters.length === 0 || filters.some((filter) => matchesPattern(filter, record));
  }

  /** Retries a batch until it succeeds, is too old, or has no retries left. Splits a failed batch if configured. */
  async #deliver(shard: string, batch: StreamRecord[], retries: number): Promise<void> {
    for (let attempt = 0; !this.#stopped; attempt++) {
      const result = await this.#ports.invoke(JSON.stringify({ Records: batch }));
      const failedAt = this.#failedAt(result, batch);
      if (failedAt === undefined) return;
      const rest = batch.slice(failedAt);
      const tooOld = Date.now() - rest[0]!.dynamodb.ApproximateCreationDateTime * 1000 > this.#config.maxAgeMs;
      if (attempt >= retries || tooOld) return this.#giveUp(shard, rest, result, attempt + 1);
      if (failedAt > 0) return this.#deliver(shard, rest, retries - attempt - 1);
      if (this.#config.bisect && batch.length > 1) {
        const half = Math.ceil(batch.length / 2);
        await this.#deliver(shard, batch.slice(0, half), retries - attempt - 1);
        return this.#deliver(shard, batch.slice(half), retries - attempt - 1);
      }
      await this.#pauseFully(retryMs);
    }
  }

  /** The index of the first failed record: 0 if the function itself failed, undefined if all records succeeded. */
  #failedAt(result: Invocation, batch: StreamRecord[]): number | undefined {
    if ("error" in result) return 0;
    if (!this.#config.reportsFailures) return undefined;
    const answer = JSON.parse(result.payload) as { batchItemFailures?: { itemIdentifier: string }[] } | null;
    const failed = (answer?.batchItemFailures ?? []).map(({ itemIdentifier }) =>
      batch.findIndex((record) => record.dynamodb.SequenceNumber === itemIdentifier),
    );
    return failed.length === 0 ? undefined : Math.max(0, Math.min(...failed)); // an unknown id fails the whole batch
  }

  #giveUp(shard: string, batch: StreamRecord[], result: Invocation, attempts: number): void {
    const now = new Date().toISOString();
    const [day = "", time = ""] = now.split("T");
    const stamp = `${day}T${time.slice(0, 8).replaceAll(":", ".")}`;
    const key = `aws/lambda/${this.#config.uuid}/${shard}/${day.replaceAll("-", "/")}/${stamp}-${randomUUID()}`;
    const info = batch.map((record) => record.dynamodb.SequenceNumber);
    const body = {
      requestContext: {
        requestId: result.requestId,
        functionArn: this.#config.functionArn,
        condition: "RetryAttemptsExhausted",
        approximateInvokeCount: attempts,
      },
      version: "1.0",
      timestamp: now,
      DDBStreamBatchInfo: {
        shardId: shard,
        startSequenceNumber: info[0],
        endSequenceNumber: info.at(-1),
        batchSize: batch.length,
        streamArn: this.#config.streamArn,
      },
      payload: JSON.stringify({ Records: batch }),
    };
    this.#ports.fail(key, JSON.stringify(body));
  }

  #recordOf({ dynamodb, ...record }: _Record): StreamRecord {
    const plain = JSON.parse(JSON.stringify(dynamodb, base64)) as Record<string, unknown> & { SequenceNumber: string };
    const created = dynamodb?.ApproximateCreationDateTime?.getTime() ?? Date.now();
    return {
      eventID: record.eventID ?? randomUUID(),
      eventName: record.eventName ?? "MODIFY",
      eventVersion: "1.1",
      eventSource: "aws:dynamodb",
      awsRegion: this.#config.region,
      eventSourceARN: this.#config.streamArn,
      dynamodb: { ...plain, ApproximateCreationDateTime: created / 1000 },
    };
  }

  /** Waits; a nudge ends the wait early. */
  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  async #pauseFully(ms: number): Promise<void> {
    for (const until = Date.now() + ms; Date.now() < until && !this.#stopped; ) await this.#pause(until - Date.now());
  }
}

/** Binary attributes as Lambda sends them. */
const base64 = (_: string, value: unknown) =>
  value instanceof Uint8Array ? Buffer.from(value).toString("base64") : value;
