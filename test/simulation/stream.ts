/** The Tenants table's stream: delivers batches to its function in order, and again on request. */
import type { SimulatedLambda } from "./lambda.ts";
import type { Schedule } from "./schedule.ts";

interface StreamRecord {
  sequence: string;
  tenantId: string;
  /** The record as it was written; absent when it was deleted. */
  image: object | undefined;
}

export class Stream {
  readonly records: StreamRecord[] = [];
  readonly #schedule: Schedule;
  readonly #lambda: SimulatedLambda;
  #delivered = 0;
  #delivering = false;

  constructor(schedule: Schedule, lambda: SimulatedLambda) {
    this.#schedule = schedule;
    this.#lambda = lambda;
  }

  write(tenantId: string, image: object | undefined): void {
    this.records.push({ sequence: String(this.records.length + 1).padStart(21, "0"), tenantId, image });
    this.#schedule.later(this.#schedule.random.below(400), () => void this.#drain());
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
      const batch = this.records.slice(this.#delivered, this.#delivered + this.#schedule.random.between(1, 5));
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
    const Records = batch.map(({ sequence, tenantId }) => ({
      eventSourceARN: "arn:stream",
      dynamodb: { SequenceNumber: sequence, Keys: { tenantId: { S: tenantId } } },
    }));
    return this.#lambda.invoke("start-rollout", { Records });
  }
}
