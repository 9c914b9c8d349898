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
import { TooManyRequestsException } from "@aws-sdk/client-lambda";
import { type Images, isUnchanged } from "../dynamodb/stream-records.ts";
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
    let shards: string[] = []; // the engine's streams keep theirs, and to describe a long stream takes long
    while (!this.#stopped) {
      try {
        stream ??= (await this.#client.send(new ListStreamsCommand({ TableName: this.#config.table }))).Streams?.[0]
          ?.StreamArn;
        if (shards.length === 0 && stream !== undefined) shards = await this.#shards(stream);
        for (const shard of shards) {
          if (!iterators.has(shard)) iterators.set(shard, await this.#iterator(stream!, shard));
          iterators.set(shard, await this.#poll(shard, iterators.get(shard)));
        }
      } catch (error) {
        if (!this.#stopped) this.#ports.onFault(error);
        iterators.clear();
        shards = [];
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
    const wanted = records.filter((record) => !isNoChange(record) && this.#passes(record));
    if (wanted.length > 0) await this.#deliver(shard, wanted);
    if (!this.#stopped) this.#checkpoints.set(shard, last.dynamodb.SequenceNumber);
    return next;
  }

  #passes(record: StreamRecord): boolean {
    const { filters } = this.#config;
    return filters.length === 0 || filters.some((filter) => matchesPattern(filter, record));
  }

  /**
   * Retries a batch until it succeeds, is too old, or has no retries left. A batch that can be split is split, which costs no
   * retry (Lambda developer guide, "Error handling"): a record that always fails ends alone at the destination.
   */
  async #deliver(shard: string, whole: StreamRecord[]): Promise<void> {
    const { bisect, retries, maxAgeMs } = this.#config;
    let batch = whole;
    for (let runs = 1; !this.#stopped; runs++) {
      const result = await this.#invoke(batch);
      const failedAt = result === undefined ? 0 : this.#failedAt(result, batch);
      if (failedAt === undefined || this.#stopped) return;
      const rest = batch.slice(failedAt);
      const isOld = Date.now() - rest[0]!.dynamodb.ApproximateCreationDateTime * 1000 > maxAgeMs;
      if (isOld) return this.#giveUp(shard, rest, result, { condition: "RecordAgeExceeded", runs });
      if (failedAt > 0) {
        batch = rest;
        if (bisect) runs = 0;
        continue;
      }
      if (bisect && batch.length > 1) {
        const half = Math.ceil(batch.length / 2);
        await this.#deliver(shard, batch.slice(0, half));
        return this.#deliver(shard, batch.slice(half));
      }
      if (runs > retries) return this.#giveUp(shard, rest, result, { condition: "RetryAttemptsExhausted", runs });
      await this.#pauseFully(retryMs);
    }
  }

  /** A throttled invocation costs no retry: it is repeated until it runs, or the records are too old (undefined). */
  async #invoke(batch: StreamRecord[]): Promise<Invocation | undefined> {
    const created = batch[0]!.dynamodb.ApproximateCreationDateTime * 1000;
    while (!this.#stopped && Date.now() - created <= this.#config.maxAgeMs) {
      try {
        return await this.#ports.invoke(JSON.stringify({ Records: batch }));
      } catch (error) {
        if (!(error instanceof TooManyRequestsException)) throw error;
        await this.#pauseFully(retryMs);
      }
    }
    return undefined;
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

  /** Writes the record of a failed batch, as AWS writes it to a bucket (`payload` is there for buckets only). */
  #giveUp(
    shard: string,
    batch: StreamRecord[],
    result: Invocation | undefined,
    { condition, runs }: { condition: "RetryAttemptsExhausted" | "RecordAgeExceeded"; runs: number },
  ): void {
    const now = new Date().toISOString();
    const [day = "", time = ""] = now.split("T");
    const stamp = `${day}T${time.slice(0, 8).replaceAll(":", ".")}`;
    const key = `aws/lambda/${this.#config.uuid}/${shard}/${day.replaceAll("-", "/")}/${stamp}-${randomUUID()}`;
    const [first, last] = [batch[0]!.dynamodb, batch.at(-1)!.dynamodb];
    const arrival = (record: StreamRecord["dynamodb"]) =>
      new Date(record.ApproximateCreationDateTime * 1000).toISOString();
    const body = {
      requestContext: {
        requestId: result?.requestId ?? randomUUID(),
        functionArn: this.#config.functionArn,
        condition,
        approximateInvokeCount: runs,
      },
      responseContext: {
        statusCode: 200,
        executedVersion: "$LATEST",
        functionError: result !== undefined && "error" in result ? "Unhandled" : null,
      },
      version: "1.0",
      timestamp: now,
      DDBStreamBatchInfo: {
        shardId: shard,
        startSequenceNumber: first.SequenceNumber,
        endSequenceNumber: last.SequenceNumber,
        approximateArrivalOfFirstRecord: arrival(first),
        approximateArrivalOfLastRecord: arrival(last),
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

const isNoChange = ({ eventName, dynamodb }: StreamRecord) => eventName === "MODIFY" && isUnchanged(dynamodb as Images);

/** Binary attributes as Lambda sends them. */
const base64 = (_: string, value: unknown) =>
  value instanceof Uint8Array ? Buffer.from(value).toString("base64") : value;
