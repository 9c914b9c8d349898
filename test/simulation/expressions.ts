/** The DynamoDB expressions that the adapters use. Refuses all others. */

export type Item = Record<string, unknown>;
export interface Names {
  names: Record<string, string>;
  values: Record<string, unknown>;
}

type Tokens = string[];
const tokenPattern = /\s*(<>|<=|>=|[<>=(),+-]|[:#]?[A-Za-z_][A-Za-z0-9_.#]*)\s*/y;

function tokens(text: string): Tokens {
  const found: string[] = [];
  tokenPattern.lastIndex = 0;
  while (tokenPattern.lastIndex < text.length) {
    const at = tokenPattern.lastIndex;
    const match = tokenPattern.exec(text);
    if (match === null) throw new Error(`expression not understood at ${at}: ${text}`);
    found.push(match[1]!);
  }
  return found;
}

const cache = new Map<string, Tokens>();
const tokensOf = (text: string): Tokens => {
  const known = cache.get(text) ?? tokens(text);
  cache.set(text, known);
  return known.slice();
};

/** A path's value; undefined when there is none. */
export function read(item: Item | undefined, path: string, { names }: Names): unknown {
  let value: unknown = item;
  for (const part of path.split(".")) {
    const name = part.startsWith("#") ? names[part] : part;
    if (name === undefined) throw new Error(`no name for ${part}`);
    value =
      value !== null && typeof value === "object" && Object.hasOwn(value, name) ? (value as Item)[name] : undefined;
  }
  return value;
}

export function holds(text: string | undefined, item: Item | undefined, names: Names): boolean {
  if (text === undefined) return true;
  const rest = tokensOf(text);
  const result = either(rest, item, names);
  if (rest.length > 0) throw new Error(`left over in ${text}: ${rest.join(" ")}`);
  return result;
}

function either(rest: Tokens, item: Item | undefined, names: Names): boolean {
  let result = both(rest, item, names);
  while (rest[0] === "OR") {
    rest.shift();
    result = both(rest, item, names) || result;
  }
  return result;
}

function both(rest: Tokens, item: Item | undefined, names: Names): boolean {
  let result = one(rest, item, names);
  while (rest[0] === "AND") {
    rest.shift();
    result = one(rest, item, names) && result;
  }
  return result;
}

const take = (rest: Tokens, wanted?: string): string => {
  const token = rest.shift();
  if (token === undefined || (wanted !== undefined && token !== wanted))
    throw new Error(`expected ${wanted ?? "more"}, not ${token}`);
  return token;
};

function one(rest: Tokens, item: Item | undefined, names: Names): boolean {
  const token = take(rest);
  if (token === "(") {
    const result = either(rest, item, names);
    take(rest, ")");
    return result;
  }
  if (rest[0] === "(") {
    take(rest, "(");
    const value = read(item, take(rest), names);
    if (token === "contains") {
      take(rest, ",");
      const wanted = operand(take(rest), item, names);
      take(rest, ")");
      return value instanceof Set && value.has(wanted);
    }
    take(rest, ")");
    if (token === "size") return compare(value instanceof Set ? value.size : undefined, rest, item, names);
    if (token === "attribute_exists") return value !== undefined;
    if (token === "attribute_not_exists") return value === undefined;
    throw new Error(`function ${token} is not implemented`);
  }
  return compare(operand(token, item, names), rest, item, names);
}

function compare(left: unknown, rest: Tokens, item: Item | undefined, names: Names): boolean {
  const operator = take(rest);
  const right = operand(take(rest), item, names);
  if (left === undefined || right === undefined || typeof left !== typeof right) return operator === "<>";
  if (operator === "=") return left === right;
  if (operator === "<>") return left !== right;
  const [a, b] = [left, right] as [number, number];
  if (operator === "<") return a < b;
  if (operator === "<=") return a <= b;
  if (operator === ">") return a > b;
  if (operator === ">=") return a >= b;
  throw new Error(`operator ${operator} is not implemented`);
}

function operand(token: string, item: Item | undefined, names: Names): unknown {
  if (!token.startsWith(":")) return read(item, token, names);
  if (!Object.hasOwn(names.values, token)) throw new Error(`no value for ${token}`);
  return names.values[token];
}

/** The item after `SET a = :b, c = if_not_exists(c, :d) ADD e :f REMOVE g DELETE h :i`. */
export function update(text: string, item: Item, names: Names): Item {
  const next = structuredClone(item);
  const rest = tokensOf(text);
  while (rest.length > 0) {
    const clause = take(rest);
    do {
      if (rest[0] === ",") take(rest);
      const path = take(rest);
      if (clause === "ADD") write(next, path, added(read(next, path, names), operand(take(rest), item, names)), names);
      else if (clause === "SET") {
        take(rest, "=");
        write(next, path, settable(rest, item, names), names);
      } else if (clause === "REMOVE") delete next[names.names[path] ?? path];
      else if (clause === "DELETE") {
        const left = without(read(next, path, names), operand(take(rest), item, names) as Set<unknown>);
        if (left === undefined) delete next[names.names[path] ?? path];
        else write(next, path, left, names);
      } else throw new Error(`clause ${clause} is not implemented`);
    } while (rest[0] === ",");
  }
  return next;
}

const added = (value: unknown, more: unknown) =>
  more instanceof Set
    ? new Set([...((value as Set<unknown> | undefined) ?? []), ...more])
    : Number(value ?? 0) + Number(more);

/** DynamoDB has no empty sets: the attribute goes with its last element. */
function without(value: unknown, fewer: Set<unknown>): Set<unknown> | undefined {
  const left = new Set([...((value as Set<unknown> | undefined) ?? [])].filter((word) => !fewer.has(word)));
  return left.size === 0 ? undefined : left;
}

function settable(rest: Tokens, item: Item, names: Names): unknown {
  const token = take(rest);
  if (rest[0] !== "(") return structuredClone(operand(token, item, names));
  if (token !== "if_not_exists") throw new Error(`function ${token} is not implemented`);
  take(rest, "(");
  const known = read(item, take(rest), names);
  take(rest, ",");
  const fallback = operand(take(rest), item, names);
  take(rest, ")");
  return known ?? fallback;
}

function write(item: Item, path: string, value: unknown, { names }: Names): void {
  const parts = path.split(".").map((part) => (part.startsWith("#") ? names[part]! : part));
  const last = parts.pop()!;
  let at = item;
  for (const part of parts) {
    if (at[part] === undefined) throw new Error(`the document path ${path} is not there`);
    at = at[part] as Item;
  }
  at[last] = value;
}
