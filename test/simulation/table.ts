/** Two tables of DynamoDB in memory, for the document client: with the service's conditions, transactions and pages. */
import { holds, type Item, type Names, update } from "./expressions.ts";

export interface TableOptions {
  /** Eventually consistent reads miss a write for this time. */
  staleMs?: number;
  /** Maximum items in a page of Scan and Query. Small by default, so that other steps run between pages. */
  pageMax?: number;
}

type Input = Record<string, unknown>;
interface Write {
  table: string;
  key: Item;
  condition: string | undefined;
  names: Names;
  /** Returns the new item. Undefined deletes it; a condition check returns the old one. */
  apply: (old: Item | undefined) => Item | undefined;
}

export class DynamoError extends Error {
  override readonly name: string;
  CancellationReasons: { Code: string; Item?: Item }[] | undefined;
  constructor(name: string, message: string, reasons?: { Code: string; Item?: Item }[]) {
    super(message);
    this.name = name;
    this.CancellationReasons = reasons;
  }
}

export class Tables {
  readonly #keys: Record<string, string[]>;
  /** Table → partition → sort key (empty where the table has none) → item. */
  readonly #tables: Record<string, Map<string, Map<string, Item>>>;
  /** Called after each write that changed something. */
  onWrite: (table: string, old: Item | undefined, now: Item | undefined) => void = () => {};
  reads = 0;
  /** Items as they were before their last write, and when that was: eventually consistent reads still see them. */
  readonly #before = new Map<string, { item: Item | undefined; at: number }>();

  readonly #staleMs: number;
  readonly #pageMax: number;
  /** Each table's partitions in order, until one is added or removed. */
  readonly #ordered = new Map<string, string[]>();

  /** Table name → its key's attributes. */
  constructor(keys: Record<string, string[]>, { staleMs = 0, pageMax = 40 }: TableOptions = {}) {
    this.#staleMs = staleMs;
    this.#pageMax = pageMax;
    this.#keys = keys;
    this.#tables = Object.fromEntries(Object.keys(keys).map((table) => [table, new Map()]));
  }

  /** All items, not copied, in the order of their keys. */
  all(table: string): Item[] {
    return this.#partitions(table).flatMap((pk) => this.partition(table, pk));
  }
  #partitions(table: string): string[] {
    const ordered = this.#ordered.get(table) ?? [...this.#tables[table]!.keys()].sort();
    this.#ordered.set(table, ordered);
    return ordered;
  }
  partition(table: string, pk: string): Item[] {
    const items = this.#tables[table]!.get(pk) ?? new Map<string, Item>();
    return [...items.keys()].sort().map((sk) => items.get(sk)!);
  }
  item(table: string, pk: string, sk = ""): Item | undefined {
    return this.#tables[table]!.get(pk)?.get(sk);
  }

  /** A backup of a table. Items never change, they are replaced. */
  backup(table: string): Map<string, Map<string, Item>> {
    return new Map([...this.#tables[table]!].map(([pk, items]) => [pk, new Map(items)]));
  }

  /** The table as it was at a backup. Its stream says nothing of it. */
  restore(table: string, backup: Map<string, Map<string, Item>>): void {
    this.#tables[table] = backup;
    this.#ordered.delete(table);
    this.#before.clear();
  }

  send(operation: string, input: Input): object {
    switch (operation) {
      case "GetCommand":
        return this.#get(input);
      case "BatchGetCommand":
        return this.#batchGet(input);
      case "BatchWriteCommand":
        return this.#batchWrite(input);
      case "QueryCommand":
        return this.#query(input);
      case "ScanCommand":
        return this.#page(this.#from(String(input.TableName), input.ExclusiveStartKey as Item | undefined), input);
      case "PutCommand":
        return this.#single(putOf(input, this.#keyOf), input);
      case "UpdateCommand":
        return this.#single(this.#updateOf(input), input);
      case "DeleteCommand":
        return this.#single(deleteOf(input), input);
      case "TransactWriteCommand":
        return this.#transact(input.TransactItems as Record<string, Input>[]);
      default:
        throw new Error(`${operation} is not implemented`);
    }
  }

  #idOf(table: string, key: Item): [pk: string, sk: string] {
    const [pk, sk] = this.#keys[table]!;
    return [String(key[pk!]), sk === undefined ? "" : String(key[sk])];
  }
  #id = (table: string, key: Item) => this.#idOf(table, key).join("\u0001");
  #at = (table: string, key: Item) => this.item(table, ...this.#idOf(table, key));
  #keyOf = (table: string, item: Item): Item =>
    Object.fromEntries(this.#keys[table]!.map((name) => [name, item[name]]));
  #read(table: string, key: Item, consistent: unknown): Item | undefined {
    this.reads++;
    const item = this.#at(table, key);
    const seen = consistent === true ? item : this.#stale(table, key, item);
    return seen && structuredClone(seen);
  }
  #stale(table: string, key: Item, item: Item | undefined): Item | undefined {
    const before = this.#before.get(`${table} ${this.#id(table, key)}`);
    return before !== undefined && Date.now() - before.at < this.#staleMs ? before.item : item;
  }

  #get({ TableName, Key, ConsistentRead }: Input) {
    const Item = this.#read(String(TableName), Key as Item, ConsistentRead);
    return Item === undefined ? {} : { Item };
  }

  #batchGet({ RequestItems }: Input) {
    const [[table, { Keys, ConsistentRead }]] = Object.entries(
      RequestItems as Record<string, { Keys: Item[]; ConsistentRead?: boolean }>,
    ) as [[string, { Keys: Item[]; ConsistentRead?: boolean }]];
    if (Keys.length > 100 || new Set(Keys.map((key) => this.#id(table, key))).size !== Keys.length)
      throw new DynamoError("ValidationException", "too many keys, or the same twice");
    return {
      Responses: { [table]: Keys.flatMap((key) => this.#read(table, key, ConsistentRead) ?? []) },
      UnprocessedKeys: {},
    };
  }

  /** Each put on its own, as DynamoDB does: other steps may see some of them. */
  #batchWrite({ RequestItems }: Input) {
    const [[table, requests]] = Object.entries(RequestItems as Record<string, { PutRequest: { Item: Item } }[]>) as [
      [string, { PutRequest: { Item: Item } }[]],
    ];
    const puts = requests.map(({ PutRequest: { Item } }) => ({ TableName: table, Item }));
    const ids = new Set(puts.map(({ Item }) => this.#id(table, this.#keyOf(table, Item))));
    if (puts.length > 25 || ids.size !== puts.length)
      throw new DynamoError("ValidationException", "too many items, or the same twice");
    for (const put of puts) this.#single(putOf(put, this.#keyOf), put);
    return { UnprocessedItems: {} };
  }

  #query(input: Input) {
    const names = namesOf(input);
    const condition = String(input.KeyConditionExpression);
    const partition = this.partition(String(input.TableName), String(names.values[":pk"]));
    return this.#page(
      partition.filter((item) => holds(condition, item, names)),
      input,
    );
  }

  #page(current: Item[], { TableName, Limit, ExclusiveStartKey, ConsistentRead }: Input) {
    const table = String(TableName);
    const seen = (item: Item) => this.#stale(table, this.#keyOf(table, item), item);
    const after = ExclusiveStartKey === undefined ? undefined : this.#id(table, ExclusiveStartKey as Item);
    const rest = current.filter((item) => after === undefined || this.#id(table, item) > after);
    const page = rest.slice(0, Math.min(this.#pageMax, Number(Limit ?? this.#pageMax)));
    const Items = ConsistentRead === true ? page : page.map(seen).filter((item): item is Item => item !== undefined);
    this.reads += Items.length;
    return {
      Items: structuredClone(Items),
      ...(page.length < rest.length ? { LastEvaluatedKey: this.#keyOf(table, page.at(-1)!) } : {}),
    };
  }

  /** A page of items behind a key, and one more. */
  #from(table: string, start: Item | undefined): Item[] {
    const [first, after] = start === undefined ? ["", ""] : [this.#idOf(table, start)[0], this.#id(table, start)];
    const partitions = this.#partitions(table);
    const items: Item[] = [];
    for (let at = indexOf(partitions, first); at < partitions.length && items.length <= this.#pageMax; at++)
      items.push(...this.partition(table, partitions[at]!).filter((item) => this.#id(table, item) > after));
    return items;
  }

  #updateOf(input: Input): Write {
    const { TableName, Key, UpdateExpression } = input;
    const names = namesOf(input);
    const apply = (old: Item | undefined) => update(String(UpdateExpression), old ?? (Key as Item), names);
    return { ...base(input, Key as Item), table: String(TableName), apply };
  }

  #single(write: Write, { ReturnValues }: Input) {
    const old = this.#at(write.table, write.key);
    if (!holds(write.condition, old, write.names))
      throw new DynamoError("ConditionalCheckFailedException", "The conditional request failed");
    const now = this.#store(write, old);
    if (ReturnValues === undefined) return {};
    if (ReturnValues === "ALL_OLD") return old === undefined ? {} : { Attributes: structuredClone(old) };
    if (ReturnValues === "ALL_NEW" || ReturnValues === "UPDATED_NEW") return { Attributes: structuredClone(now) };
    throw new Error(`ReturnValues ${String(ReturnValues)} is not implemented`);
  }

  #transact(items: Record<string, Input>[]) {
    if (items.length > 100) throw new DynamoError("ValidationException", "more than 100 items");
    const writes = items.map((item) => {
      const [[kind, input]] = Object.entries(item) as [[string, Input]];
      if (kind === "Put") return putOf(input, this.#keyOf);
      if (kind === "Delete") return deleteOf(input);
      if (kind === "Update") return this.#updateOf(input);
      if (kind !== "ConditionCheck") throw new Error(`${kind} is not implemented`);
      const check = base(input, input.Key as Item);
      return { ...check, table: String(input.TableName), apply: (old: Item | undefined) => old };
    });
    const ids = writes.map(({ table, key }) => `${table} ${this.#id(table, key)}`);
    if (new Set(ids).size !== ids.length)
      throw new DynamoError(
        "ValidationException",
        "Transaction request cannot include multiple operations on one item",
      );
    const olds = writes.map(({ table, key }) => this.#at(table, key));
    const reasons = writes.map(({ condition, names }, index) =>
      holds(condition, olds[index], names)
        ? { Code: "None" }
        : { Code: "ConditionalCheckFailed", ...(olds[index] ? { Item: structuredClone(olds[index]) } : {}) },
    );
    if (reasons.some(({ Code }) => Code !== "None"))
      throw new DynamoError("TransactionCanceledException", "Transaction cancelled", reasons);
    for (const [index, write] of writes.entries()) this.#store(write, olds[index]);
    return {};
  }

  #store({ table, key, apply }: Write, old: Item | undefined): Item | undefined {
    const now = apply(old);
    if (now === old) return now;
    const [pk, sk] = this.#idOf(table, key);
    if (this.#staleMs > 0) this.#before.set(`${table} ${this.#id(table, key)}`, { item: old, at: Date.now() });
    const known = this.#tables[table]!.get(pk);
    const partition = known ?? new Map<string, Item>();
    if (known === undefined) this.#ordered.delete(table);
    this.#tables[table]!.set(pk, partition);
    if (now === undefined) partition.delete(sk);
    else partition.set(sk, now);
    if (partition.size === 0) {
      this.#tables[table]!.delete(pk);
      this.#ordered.delete(table);
    }
    this.onWrite(table, old, now);
    return now;
  }
}

/** Where the first text is that is not below `text`, in an ordered list. */
function indexOf(ordered: string[], text: string): number {
  let [low, high] = [0, ordered.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (ordered[middle]! < text) low = middle + 1;
    else high = middle;
  }
  return low;
}

const namesOf = ({ ExpressionAttributeNames, ExpressionAttributeValues }: Input): Names => ({
  names: (ExpressionAttributeNames ?? {}) as Record<string, string>,
  values: (ExpressionAttributeValues ?? {}) as Record<string, unknown>,
});
const base = (input: Input, key: Item) => ({
  key,
  condition: input.ConditionExpression as string | undefined,
  names: namesOf(input),
});
const putOf = (input: Input, keyOf: (table: string, item: Item) => Item): Write => {
  const table = String(input.TableName);
  const item = withoutUndefined(structuredClone(input.Item)) as Item;
  return { ...base(input, keyOf(table, item)), table, apply: () => item };
};
const deleteOf = (input: Input): Write => ({
  ...base(input, input.Key as Item),
  table: String(input.TableName),
  apply: () => undefined,
});

/** Removes undefined values, as the document client is configured to do. */
function withoutUndefined(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutUndefined);
  if (value === null || typeof value !== "object" || value instanceof Set || value instanceof Uint8Array) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, member]) => member !== undefined)
      .map(([key, member]) => [key, withoutUndefined(member)]),
  );
}
