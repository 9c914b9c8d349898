/**
 * Capacity that requests consume, by partition. AWS: a partition takes 1,000 write units and 3,000 read units a second
 * (DynamoDB developer guide, "Best practices for designing partition keys"). Units are the engine's own, which follow AWS's
 * documented arithmetic; those of one request over several items are shared out evenly.
 */
import type { DynamoRequest, Touched } from "./request.ts";
import { isWrite } from "./request.ts";

export const partitionLimits = { writeUnits: 1000, readUnits: 3000 };
const windowMs = 1000;
/** Partitions that are remembered; those with the lowest peaks are forgotten first. */
const partitionsMax = 10_000;

interface Use {
  windowAt: number;
  writeUnits: number;
  readUnits: number;
  peakWriteUnits: number;
  peakReadUnits: number;
}

export interface PartitionUse {
  table: string;
  partition: string;
  /** The most units within one second. */
  peakWriteUnits: number;
  peakReadUnits: number;
}

export class Capacity {
  readonly #uses = new Map<string, Use & { table: string; partition: string }>();
  readonly totals = new Map<string, { writeUnits: number; readUnits: number }>();

  count(request: DynamoRequest, items: Touched[], units: number, now = performance.now()): void {
    const kind = isWrite(request.operation) ? "writeUnits" : "readUnits";
    for (const table of new Set([...items.map((item) => item.table), request.body.TableName ?? ""])) {
      if (table === "") continue;
      const total = this.totals.get(table) ?? { writeUnits: 0, readUnits: 0 };
      const share = items.length === 0 ? 1 : items.filter((item) => item.table === table).length / items.length;
      total[kind] += units * share;
      this.totals.set(table, total);
    }
    for (const { table, partition } of items) {
      const use = this.#use(table, partition, now);
      use[kind] += units / items.length;
      use.peakWriteUnits = Math.max(use.peakWriteUnits, use.writeUnits);
      use.peakReadUnits = Math.max(use.peakReadUnits, use.readUnits);
    }
  }

  #use(table: string, partition: string, now: number) {
    const key = `${table} ${partition}`;
    let use = this.#uses.get(key);
    if (use === undefined) {
      if (this.#uses.size >= partitionsMax) for (const { key: idle } of this.#lowest()) this.#uses.delete(idle);
      const zero = { writeUnits: 0, readUnits: 0, peakWriteUnits: 0, peakReadUnits: 0 };
      use = { table, partition, windowAt: now, ...zero };
      this.#uses.set(key, use);
    }
    if (now - use.windowAt >= windowMs) Object.assign(use, { windowAt: now, writeUnits: 0, readUnits: 0 });
    return use;
  }

  #lowest() {
    const all = [...this.#uses].map(([key, use]) => ({ key, peak: use.peakWriteUnits + use.peakReadUnits / 3 }));
    return all.sort((a, b) => a.peak - b.peak).slice(0, partitionsMax / 2);
  }

  /** Whether a partition has used up what it takes in this second. */
  isOver({ operation }: DynamoRequest, items: Touched[], now = performance.now()): boolean {
    const kind = isWrite(operation) ? "writeUnits" : "readUnits";
    return items.some(({ table, partition }) => this.#use(table, partition, now)[kind] >= partitionLimits[kind]);
  }

  /** The partitions with the highest peaks, in relation to what a partition takes. */
  busiest(count = 10): PartitionUse[] {
    const load = (use: Use) =>
      Math.max(use.peakWriteUnits / partitionLimits.writeUnits, use.peakReadUnits / partitionLimits.readUnits);
    return [...this.#uses.values()]
      .sort((a, b) => load(b) - load(a))
      .slice(0, count)
      .map(({ table, partition, peakWriteUnits, peakReadUnits }) => {
        return { table, partition, peakWriteUnits, peakReadUnits };
      });
  }
}

const consumed = /,?"ConsumedCapacity":(\{[^{}]*\}|\[[^\]]*\])/;

/** Takes the units out of an answer, and the member too unless the caller asked for it. */
export function takeUnits(answer: string, wasAsked: boolean): { units: number; answer: string } {
  const found = consumed.exec(answer);
  if (found === null) return { units: 0, answer };
  const parsed = JSON.parse(found[1]!) as { CapacityUnits?: number } | { CapacityUnits?: number }[];
  const units = [parsed].flat().reduce((sum, { CapacityUnits = 0 }) => sum + CapacityUnits, 0);
  if (wasAsked) return { units, answer };
  const rest = answer.slice(0, found.index) + answer.slice(found.index + found[0].length);
  return { units, answer: rest.replace(/^\{,/, "{") };
}
