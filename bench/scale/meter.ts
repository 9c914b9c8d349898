/** Counts what the control plane and its edges use of AWS, in AWS's own units. */
import { canonicalJson } from "../../core/canonical.ts";
import { Capacity } from "../../local/services/dynamodb/capacity.ts";
import type { Call } from "../../test/simulation/services.ts";
import type { Tables } from "../../test/simulation/table.ts";
import { assumed, prices } from "./prices.ts";

const zero = {
  readUnits: 0,
  writeUnits: 0,
  puts: 0,
  lists: 0,
  gets: 0,
  /** Bytes that are put into regions other than home. */
  regionBytes: 0,
  /** Requests and bytes of edges in their own region. */
  edgeGets: 0,
  edgeBytes: 0,
  transitions: 0,
  invocations: 0,
  calls: 0,
  events: 0,
  signatures: 0,
};
export type Use = typeof zero;
const names = Object.keys(zero) as (keyof Use)[];

export const minus = (a: Use, b: Use): Use => combined((name) => a[name] - b[name]);
export const times = (use: Use, factor: number): Use => combined((name) => use[name] * factor);
export const combined = (of: (name: keyof Use) => number) =>
  Object.fromEntries(names.map((name) => [name, of(name)])) as Use;

/** Dollars of the control plane, without the edges' own requests. */
export function dollars(use: Use): number {
  const gbSeconds = (assumed.gigabytes * (use.invocations * assumed.baseMs + use.calls * assumed.callMs)) / 1000;
  return (
    use.writeUnits * prices.writeUnit +
    use.readUnits * prices.readUnit +
    (use.puts + use.lists) * prices.s3Put +
    use.gets * prices.s3Get +
    use.regionBytes * prices.regionByte +
    use.transitions * prices.transition +
    use.invocations * prices.invocation +
    gbSeconds * prices.gbSecond +
    use.events * prices.event +
    use.signatures * prices.signature
  );
}

type Json = Record<string, unknown>;
interface Key {
  table: string;
  key: Json;
}

export class Meter {
  capacity = new Capacity();
  readonly use: Use = { ...zero };
  readonly #tables: Tables;
  readonly #keys: Record<string, string[]>;
  readonly #home: string;

  constructor(tables: Tables, keys: Record<string, string[]>, home: string) {
    this.#tables = tables;
    this.#keys = keys;
    this.#home = home;
  }

  /** Partitions' peaks count from now on. */
  startOver(): void {
    this.capacity = new Capacity();
  }

  /** Carries the call out and counts it. */
  count({ service, region, operation, input }: Call, perform: () => unknown): unknown {
    if (service === "dynamodb") return this.dynamodb(operation, input, perform);
    const output = perform();
    if (service === "events") this.use.events += (input.Entries as unknown[]).length;
    if (service === "kms" && operation === "SignCommand") this.use.signatures++;
    if (service !== "s3") return output;
    if (operation === "ListObjectsV2Command") this.use.lists++;
    if (operation === "GetObjectCommand") this.use.gets++;
    if (operation === "PutObjectCommand") this.use.puts++;
    if (region !== this.#home && typeof input.Body === "string") this.use.regionBytes += input.Body.length;
    return output;
  }

  edgeGot(text: string): void {
    this.use.edgeGets++;
    this.use.edgeBytes += text.length;
  }

  /** DynamoDB's arithmetic: a write unit holds 1 KB and a read unit 4 KB, half of one if not consistent; a transaction takes twice. */
  dynamodb(operation: string, input: Json, perform: () => unknown): unknown {
    if (!/^(Put|Update|Delete|TransactWrite|BatchWrite)/.test(operation)) return this.#read(operation, input, perform);
    const keys = written(operation, input);
    const items = keys.map((one) => this.#keyOf(one));
    const before = items.map((item) => sizeOf(this.#at(item)));
    try {
      return perform();
    } finally {
      const factor = operation === "TransactWriteCommand" ? 2 : 1;
      for (const [index, item] of items.entries()) {
        const bytes = Math.max(before[index]!, sizeOf(this.#at(item)));
        this.#spend("writeUnits", item, factor * Math.max(1, Math.ceil(bytes / 1024)));
      }
    }
  }

  #read(operation: string, input: Json, perform: () => unknown): unknown {
    const output = perform() as { Items?: Json[] };
    const unitsOf = (bytes: number, isConsistent: unknown) =>
      Math.max(1, Math.ceil(bytes / 4096)) * (isConsistent === true ? 1 : 0.5);
    if (operation === "BatchGetCommand") {
      for (const [table, { Keys, ConsistentRead }] of Object.entries(
        input.RequestItems as Record<string, { Keys: Json[]; ConsistentRead?: boolean }>,
      ))
        for (const key of Keys)
          this.#spend("readUnits", { table, key }, unitsOf(sizeOf(this.#at({ table, key })), ConsistentRead));
      return output;
    }
    const table = String(input.TableName);
    if (operation === "GetCommand") {
      const item = this.#keyOf(input);
      this.#spend("readUnits", item, unitsOf(sizeOf(this.#at(item)), input.ConsistentRead));
      return output;
    }
    const bytes = (output.Items ?? []).reduce((sum, item) => sum + sizeOf(item), 0);
    const units = unitsOf(bytes, input.ConsistentRead);
    if (operation === "ScanCommand")
      this.use.readUnits += units; // spread over the partitions
    else {
      const pk = (input.ExpressionAttributeValues as Json | undefined)?.[":pk"];
      this.#spend("readUnits", { table, key: { [this.#keys[table]![0]!]: pk } }, units);
    }
    return output;
  }

  #keyOf({ TableName, Key, Item }: Json): Key {
    const table = String(TableName);
    return { table, key: (Key ?? Item) as Json };
  }

  #at({ table, key }: Key): Json | undefined {
    const [pk, sk] = this.#keys[table]!;
    return this.#tables.item(table, String(key[pk!]), sk === undefined ? "" : String(key[sk]));
  }

  #spend(kind: "readUnits" | "writeUnits", { table, key }: Key, units: number): void {
    this.use[kind] += units;
    const partition = String(key[this.#keys[table]![0]!]);
    const operation = kind === "writeUnits" ? "PutItem" : "GetItem";
    const touched = { table, partition, id: canonicalJson(key) };
    this.capacity.count({ operation, body: { TableName: table } }, [touched], units, Date.now());
  }
}

/** Each item's part of a write. */
function written(operation: string, input: Json): Json[] {
  if (operation === "TransactWriteCommand")
    return (input.TransactItems as Record<string, Json>[]).map((item) => Object.values(item)[0]!);
  if (operation !== "BatchWriteCommand") return [input];
  const tables = Object.entries(input.RequestItems as Record<string, { PutRequest: Json }[]>);
  return tables.flatMap(([TableName, requests]) =>
    requests.map(({ PutRequest: { Item } }) => ({ TableName, Item: Item as Json })),
  );
}

/** Bytes of an item (DynamoDB developer guide, "Item sizes and formats"). */
export function sizeOf(value: unknown): number {
  if (value === undefined) return 0;
  if (typeof value === "string") return Buffer.byteLength(value);
  if (typeof value === "number") return Math.ceil(String(value).replace(/[-.]/g, "").length / 2) + 1;
  if (value === null || typeof value === "boolean") return 1;
  if (Array.isArray(value)) return value.reduce((sum: number, one) => sum + 1 + sizeOf(one), 3);
  const members = Object.entries(value).filter(([, member]) => member !== undefined);
  return members.reduce((sum, [name, member]) => sum + 1 + Buffer.byteLength(name) + sizeOf(member), 3);
}
