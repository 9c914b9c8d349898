/** A table's stream: delivers batches to its function in order, and again on request. */
import type { FunctionName } from "./functions.ts";
import type { SimulatedLambda } from "./lambda.ts";
import type { Schedule } from "./schedule.ts";

interface StreamRecord {
  sequence: string;
  key: string;
  at: number;
  /** The item as it was written; absent when it was deleted. */
  image: Record<string, unknown> | undefined;
}

export interface StreamTarget {
  fn: FunctionName;
  keyName: string;
  /** The attribute of the image that records carry, if any. */
  carries?: string;
  batchMax: number;
  /** How long it waits for more records. Then it delivers full batches; without it, the seed decides both. */
  windowMs?: number;
}

export class Stream {
  readonly records: StreamRecord[] = [];
  readonly #schedule: Schedule;
  readonly #lambda: SimulatedLambda;
  readonly #target: StreamTarget;
  #delivered = 0;
  #delivering = false;
  #gathering = false;

  constructor(schedule: Schedule, lambda: SimulatedLambda, target: StreamTarget) {
    this.#schedule = schedule;
    this.#lambda = lambda;
    this.#target = target;
  }

  write(key: string, image: Record<string, unknown> | undefined): void {
    const sequence = String(this.records.length + 1).padStart(21, "0");
    this.records.push({ sequence, key, at: Date.now(), image });
    const { windowMs } = this.#target;
    if (windowMs === undefined) this.#schedule.later(this.#schedule.random.below(400), () => void this.#drain());
    else if (!this.#gathering) this.#gather(windowMs);
  }

  /** A window begins with the first record after the last one. */
  #gather(windowMs: number): void {
    this.#gathering = true;
    this.#schedule.later(windowMs, () => {
      this.#gathering = false;
      void this.#drain();
    });
  }

  /** Delivers some of the last records once more, the newest first. */
  redeliver(back: number, count: number): void {
    const from = Math.max(0, this.#delivered - back);
    const again = this.records.slice(from, from + count).toReversed();
    if (again.length > 0) this.#schedule.later(0, () => void this.#deliver(again).catch(() => {})); // not retried
  }

  /** Each tenant's record as of these stream records, for the mutant that uses the event's image. */
  images(ids: string[], sequences: string[]) {
    if (sequences.includes("")) return () => undefined;
    const known = new Map(this.records.map(({ sequence, image }) => [sequence, image]));
    return (tenantIds: string[]) => {
      const images = tenantIds.map((id) => [id, known.get(sequences[ids.indexOf(id)]!)] as const);
      return new Map(images.filter(([, image]) => image !== undefined));
    };
  }

  /** A batch that fails is delivered again, and the next one waits. */
  async #drain(): Promise<void> {
    if (this.#delivering) return;
    this.#delivering = true;
    while (this.#delivered < this.records.length) {
      const { batchMax, windowMs } = this.#target;
      const size = windowMs === undefined ? this.#schedule.random.between(1, batchMax) : batchMax;
      const batch = this.records.slice(this.#delivered, this.#delivered + size);
      const good = await this.#deliver(batch).then(
        () => true,
        () => false,
      );
      if (good) this.#delivered += batch.length;
      else await new Promise((resolve) => setTimeout(resolve, 500));
    }
    this.#delivering = false;
  }

  #deliver(batch: StreamRecord[]): Promise<unknown> {
    const { fn, keyName, carries } = this.#target;
    const Records = batch.map(({ sequence, key, at, image }) => ({
      eventSourceARN: "arn:stream",
      dynamodb: {
        SequenceNumber: sequence,
        ApproximateCreationDateTime: Math.floor(at / 1000),
        Keys: { [keyName]: { S: key } },
        ...(carries === undefined || image === undefined ? {} : { NewImage: { [carries]: { S: image[carries] } } }),
      },
    }));
    return this.#lambda.invoke(fn, { Records });
  }
}
