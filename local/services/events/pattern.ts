/** EventBridge's event patterns. An operator that is not implemented is refused, not ignored. */
import ipaddr from "ipaddr.js";

export type EventPattern = { [field: string]: unknown };

export class InvalidPatternError extends Error {
  override readonly name = "InvalidEventPatternException";
}

/** @throws InvalidPatternError */
export function parsePattern(text: string): EventPattern {
  let pattern: unknown;
  try {
    pattern = JSON.parse(text);
  } catch {
    throw new InvalidPatternError("Event pattern is not valid. Reason: it is not JSON");
  }
  checkPattern(pattern, []);
  return pattern as EventPattern;
}

const operators: Record<string, (operand: unknown, value: unknown) => boolean> = {
  prefix: (operand, value) =>
    typeof value === "string" &&
    (typeof operand === "string" ? value.startsWith(operand) : value.toLowerCase().startsWith(ignoredCase(operand))),
  suffix: (operand, value) =>
    typeof value === "string" &&
    (typeof operand === "string" ? value.endsWith(operand) : value.toLowerCase().endsWith(ignoredCase(operand))),
  "equals-ignore-case": (operand, value) =>
    typeof value === "string" && value.toLowerCase() === String(operand).toLowerCase(),
  wildcard: (operand, value) => typeof value === "string" && wildcard(String(operand)).test(value),
  numeric: (operand, value) => typeof value === "number" && numeric(operand as (string | number)[], value),
  cidr: (operand, value) => typeof value === "string" && inCidr(String(operand), value),
  "anything-but": (operand, value) =>
    value !== undefined && (value === null || typeof value !== "object") && !excluded(operand, value),
};

const ignoredCase = (operand: unknown) =>
  String((operand as Record<string, unknown>)["equals-ignore-case"]).toLowerCase();

function wildcard(text: string): RegExp {
  const source = text.replace(/\\\*|\\\\|\*|[.+^${}()|[\]?]/g, (found) =>
    found === "*" ? ".*" : found === "\\*" ? "\\*" : found === "\\\\" ? "\\\\" : `\\${found}`,
  );
  return new RegExp(`^${source}$`, "s");
}

function numeric(rules: (string | number)[], value: number): boolean {
  const compare: Record<string, (limit: number) => boolean> = {
    "=": (limit) => value === limit,
    "<": (limit) => value < limit,
    "<=": (limit) => value <= limit,
    ">": (limit) => value > limit,
    ">=": (limit) => value >= limit,
  };
  for (let i = 0; i < rules.length; i += 2)
    if (compare[String(rules[i])]?.(Number(rules[i + 1])) !== true) return false;
  return true;
}

function inCidr(range: string, value: string): boolean {
  if (!ipaddr.isValid(value)) return false;
  const [base, bits] = ipaddr.parseCIDR(range);
  const address = ipaddr.parse(value);
  return base.kind() === address.kind() && address.match(base, bits);
}

function excluded(operand: unknown, value: unknown): boolean {
  if (Array.isArray(operand)) return operand.includes(value);
  if (operand === null || typeof operand !== "object") return operand === value;
  return Object.entries(operand).some(([name, inner]) =>
    (Array.isArray(inner) ? inner : [inner]).some((one) => operators[name]?.(one, value) === true),
  );
}

function checkPattern(pattern: unknown, path: string[]): void {
  const refuse = (reason: string): never => {
    throw new InvalidPatternError(`Event pattern is not valid. Reason: ${reason} at ${path.join(".") || "the top"}`);
  };
  if (pattern === null || typeof pattern !== "object" || Array.isArray(pattern)) refuse("it must be an object");
  if (Object.keys(pattern as object).length === 0) refuse("it is empty");
  for (const [field, rule] of Object.entries(pattern as EventPattern)) {
    if (field === "$or" && Array.isArray(rule)) {
      if (rule.length < 2) refuse("$or needs two branches or more");
      rule.forEach((branch) => checkPattern(branch, [...path, field]));
    } else if (Array.isArray(rule)) {
      if (rule.length === 0) refuse(`${field} has no values`);
      rule.forEach((one) => checkRule(one, refuse));
    } else if (rule !== null && typeof rule === "object") checkPattern(rule, [...path, field]);
    else refuse(`${field} must be an object or an array`);
  }
}

function checkRule(rule: unknown, refuse: (reason: string) => never): void {
  if (rule === null || typeof rule !== "object") return;
  const [[name, operand] = ["", undefined], ...more] = Object.entries(rule);
  if (more.length > 0) refuse("a rule must have exactly one operator");
  const check = Object.hasOwn(operands, name) ? operands[name] : undefined;
  if (check === undefined) refuse(`unrecognized match type ${name}`);
  const fault = check!(operand);
  if (fault !== undefined) refuse(`${name} ${fault}`);
}

const isText = (value: unknown): value is string => typeof value === "string" && value !== "";
const isIgnoringCase = (value: unknown) =>
  value !== null &&
  typeof value === "object" &&
  Object.keys(value).join() === "equals-ignore-case" &&
  isText((value as Record<string, unknown>)["equals-ignore-case"]);
const text = (value: unknown) => (isText(value) ? undefined : "takes a string");
/** The empty string is a prefix and a suffix of every string, and AWS takes it. */
const affix = (value: unknown) =>
  typeof value === "string" || isIgnoringCase(value) ? undefined : "takes a string, or equals-ignore-case";
const listOf = (value: unknown, one: (item: unknown) => string | undefined) => {
  const list = Array.isArray(value) ? value : [value];
  return list.length === 0 ? "takes at least one value" : list.map(one).find((fault) => fault !== undefined);
};

/** The fault of an operator's operand; undefined if there is none. */
const operands: Record<string, (operand: unknown) => string | undefined> = {
  exists: (operand) => (typeof operand === "boolean" ? undefined : "takes true or false"),
  prefix: affix,
  suffix: affix,
  "equals-ignore-case": text,
  wildcard: (operand) => text(operand) ?? (/\*\*/.test(String(operand)) ? "has consecutive wildcards" : undefined),
  cidr: (operand) => (ipaddr.isValidCIDR(String(operand)) ? undefined : "takes an address range"),
  numeric: numericFault,
  "anything-but": (operand) => {
    if (Array.isArray(operand) || operand === null || typeof operand !== "object")
      return listOf(operand, (item) =>
        ["string", "number"].includes(typeof item) ? undefined : "takes strings and numbers",
      );
    const [[name = "", inner] = [], ...more] = Object.entries(operand);
    if (more.length > 0 || !["prefix", "suffix", "equals-ignore-case", "wildcard"].includes(name))
      return `does not take ${name || "nothing"}`;
    const isAffix = name === "prefix" || name === "suffix";
    if (isAffix && [inner].flat().includes("")) return "takes no empty prefix or suffix";
    return listOf(inner, operands[name]!);
  },
};

function numericFault(operand: unknown): string | undefined {
  if (!Array.isArray(operand) || (operand.length !== 2 && operand.length !== 4))
    return "takes one or two pairs of an operator and a number";
  const pairs = operand.every((part: unknown, i) =>
    i % 2 === 0 ? /^(=|<=?|>=?)$/.test(String(part)) : typeof part === "number",
  );
  if (!pairs) return "takes pairs of an operator and a number";
  const [first, low, second, high] = operand as [string, number, string?, number?];
  if (second === undefined || high === undefined) return undefined;
  return first.startsWith(">") && second.startsWith("<") && low < high ? undefined : "takes a range from low to high";
}

/** Whether an event (or a stream record) matches. Every field must match; an array in the event matches by any item. */
export function matchesPattern(pattern: EventPattern, event: unknown): boolean {
  const fields = event !== null && typeof event === "object" ? (event as Record<string, unknown>) : {};
  return Object.entries(pattern).every(([field, rule]) => {
    if (field === "$or" && Array.isArray(rule))
      return rule.some((branch) => matchesPattern(branch as EventPattern, event));
    const value = fields[field];
    if (!Array.isArray(rule)) {
      return Array.isArray(value)
        ? value.some((item) => matchesPattern(rule as EventPattern, item))
        : matchesPattern(rule as EventPattern, value);
    }
    const values = Array.isArray(value) ? value : [value];
    return rule.some((one) => values.some((item) => fits(one, item)) || (isExists(one, false) && value === undefined));
  });
}

const isExists = (rule: unknown, wanted: boolean) =>
  rule !== null && typeof rule === "object" && (rule as { exists?: unknown }).exists === wanted;

function fits(rule: unknown, value: unknown): boolean {
  if (rule === null || typeof rule !== "object") return rule === value;
  const [name = "", operand] = Object.entries(rule)[0] ?? [];
  if (name === "exists")
    return (operand === true) === (value !== undefined && (value === null || typeof value !== "object"));
  return operators[name]?.(operand, value) === true;
}
