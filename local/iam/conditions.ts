/** Conditions of IAM policies: operators, set operators, and policy variables (IAM user guide, "Condition operators"). */
import { wildcardMatches } from "./wildcard.ts";

/** Condition keys of a request, by name. A key may have several values; a key that is absent has none. */
export type Context = Record<string, string | string[] | undefined>;

export type ConditionBlock = Record<string, Record<string, string | boolean | number | (string | boolean | number)[]>>;

type Compare = (wanted: string, given: string, isLiteral: (index: number) => boolean) => boolean;

const equals: Compare = (wanted, given) => wanted === given;
const like: Compare = (wanted, given, isLiteral) => wildcardMatches(wanted, given, isLiteral);
const numeric = (compare: (given: number, wanted: number) => boolean): Compare => {
  return (wanted, given) => compare(Number(given), Number(wanted));
};
const dated = (compare: (given: number, wanted: number) => boolean): Compare => {
  return (wanted, given) => compare(Date.parse(given), Date.parse(wanted));
};
/** Each of the six parts of an ARN is matched by itself. */
const arnLike: Compare = (wanted, given) => {
  const [a, b] = [wanted.split(":"), given.split(":")].map((parts) => [...parts.slice(0, 5), parts.slice(5).join(":")]);
  return b!.length === 6 && a!.every((part, index) => wildcardMatches(part, b![index] ?? "", () => false));
};

const operators: Record<string, Compare> = {
  StringEquals: equals,
  StringEqualsIgnoreCase: (wanted, given) => wanted.toLowerCase() === given.toLowerCase(),
  StringLike: like,
  ArnEquals: arnLike,
  ArnLike: arnLike,
  Bool: (wanted, given) => wanted.toLowerCase() === given.toLowerCase(),
  NumericEquals: numeric((given, wanted) => given === wanted),
  NumericLessThan: numeric((given, wanted) => given < wanted),
  NumericLessThanEquals: numeric((given, wanted) => given <= wanted),
  NumericGreaterThan: numeric((given, wanted) => given > wanted),
  NumericGreaterThanEquals: numeric((given, wanted) => given >= wanted),
  DateLessThan: dated((given, wanted) => given < wanted),
  DateGreaterThan: dated((given, wanted) => given > wanted),
};
/** Operators that hold when no value matches, each with the one that it negates. */
const negated: Record<string, string> = {
  StringNotEquals: "StringEquals",
  StringNotEqualsIgnoreCase: "StringEqualsIgnoreCase",
  StringNotLike: "StringLike",
  ArnNotEquals: "ArnEquals",
  ArnNotLike: "ArnLike",
  NumericNotEquals: "NumericEquals",
};

interface Operator {
  set: "ForAllValues" | "ForAnyValue" | undefined;
  name: string;
  ifExists: boolean;
}

function parse(text: string): Operator {
  const [, set, name = "", ifExists] = /^(?:(ForAllValues|ForAnyValue):)?(\w+?)(IfExists)?$/.exec(text) ?? [];
  return { set: set as Operator["set"], name, ifExists: ifExists !== undefined };
}

/** The name of an operator that is not implemented here; undefined when every one is. */
export const unknownOperator = (block: ConditionBlock): string | undefined =>
  Object.keys(block).find((text) => {
    const { name } = parse(text);
    return name !== "Null" && !Object.hasOwn(operators, name) && !Object.hasOwn(negated, name);
  });

/** Whether every condition of a block holds. */
export function conditionsHold(block: ConditionBlock, context: Context): boolean {
  const keys = new Map(Object.entries(context).map(([key, value]) => [key.toLowerCase(), value]));
  return Object.entries(block).every(([text, wanted]) => {
    const operator = parse(text);
    return Object.entries(wanted).every(([key, values]) => {
      const given = keys.get(key.toLowerCase());
      const list = given === undefined ? [] : [given].flat();
      return holds(operator, [values].flat().map(String), list, context);
    });
  });
}

function holds({ set, name, ifExists }: Operator, wanted: string[], given: string[], context: Context): boolean {
  if (name === "Null") return wanted.some((value) => (value === "true") === (given.length === 0));
  if (given.length === 0) {
    if (set === "ForAllValues" || ifExists) return true;
    return set === undefined && Object.hasOwn(negated, name);
  }
  const isNegated = Object.hasOwn(negated, name);
  const compare = operators[negated[name] ?? name]!;
  const matches = (value: string) =>
    wanted.some((text) => {
      const filled = substitute(text, context);
      return filled !== undefined && compare(filled.text, value, filled.isLiteral);
    });
  const fits = (value: string) => matches(value) !== isNegated;
  if (set === "ForAllValues") return given.every(fits);
  if (set === "ForAnyValue") return given.some(fits);
  return given.length === 1 && fits(given[0]!);
}

/** A text with its variables filled in; undefined when a variable has no value, for then nothing matches. */
export function substitute(
  text: string,
  context: Context,
): { text: string; isLiteral: (index: number) => boolean } | undefined {
  const keys = new Map(Object.entries(context).map(([key, value]) => [key.toLowerCase(), value]));
  const literal: [from: number, to: number][] = [];
  let filled = "";
  let at = 0;
  for (const match of text.matchAll(/\$\{([^}]*)\}/g)) {
    filled += text.slice(at, match.index);
    const [, name = "", fallback] = /^\s*([^,]*?)\s*(?:,\s*'(.*)'\s*)?$/.exec(match[1]!) ?? [];
    const value = ["*", "?", "$"].includes(name) ? name : ([keys.get(name.toLowerCase())].flat()[0] ?? fallback);
    if (value === undefined) return undefined;
    literal.push([filled.length, filled.length + value.length]);
    filled += value;
    at = match.index + match[0].length;
  }
  filled += text.slice(at);
  return { text: filled, isLiteral: (index) => literal.some(([from, to]) => index >= from && index < to) };
}
