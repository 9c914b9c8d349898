/** Writes and parses the text of a route file. The router defines the format (edge/structure/router.js). Pure. */
import ipaddr from "ipaddr.js";
import { backendsIn, type ServedTarget } from "./served.ts";

export interface Content {
  slot: number;
  tenantId: string;
  target: ServedTarget;
}

/**
 * Its lines: the owner and the options; the healthy backends of the nearest group that has any; an empty line; the others.
 * If no backend is healthy, the nearest group comes first: missing health is no reason to reject users.
 */
export function routeContent({ slot, tenantId, target }: Content, isUp: (backend: string) => boolean): string {
  const { options } = target;
  const groups = target.groups.map((group) => backendsIn(group));
  const nearest = groups.find((group) => group.some(isUp)) ?? groups[0]!;
  const healthy = nearest.filter(isUp);
  const first = healthy.length > 0 ? healthy : nearest;
  const rest = groups.flat().filter((backend) => !first.includes(backend));
  const lines = (backends: string[]) => backends.map((backend) => `${isUp(backend) ? "+" : "-"}${backend}\n`).join("");
  const head = `${[slot, tenantId, ...options].join(" ")}\n${lines(first)}`;
  return rest.length === 0 ? head : `${head}\n${lines(rest)}`;
}

/** Whether an option says how many sessions there are now, not what the route is. */
const isPassing = (option: string) => option === "full" || option.startsWith("block=");

/**
 * Parses a route file. It has no regions, so its backends form one group; options of the moment are left out. Undefined if it
 * is not a route file.
 */
export function readContent(content: string): Content | undefined {
  const [, slot, tenantId, options = ""] = /^(\d+) (\S+)((?: \S+)*)\n/.exec(content) ?? [];
  const backends = content.split("\n").flatMap((line) => (/^[+-]./.test(line) ? [line.slice(1)] : []));
  if (slot === undefined || tenantId === undefined || backends.length === 0) return undefined;
  const target = {
    groups: [backends.join(" ")],
    options: options.split(" ").filter((option) => option !== "" && !isPassing(option)),
  };
  return { slot: Number(slot), tenantId, target };
}

/** Client ranges as the router compares them: hexadecimal numbers in order, ranges that overlap in one, `a-b,c-d`. */
export function allowOption(ranges: string[]): string {
  const bounds = ranges.map(boundsOf).sort(([a], [b]) => a.length - b.length || (a < b ? -1 : 1));
  const merged: [string, string][] = [];
  for (const [first, last] of bounds) {
    const before = merged.at(-1);
    if (before === undefined || before[0].length !== first.length || before[1] < first) merged.push([first, last]);
    else if (before[1] < last) before[1] = last;
  }
  return `allow=${merged.map((range) => range.join("-")).join(",")}`;
}

function boundsOf(range: string): [first: string, last: string] {
  const [address, bits] = ipaddr.parseCIDR(range);
  const first = address.toByteArray();
  const last = first.map((byte, index) => byte | (0xff >> Math.min(8, Math.max(0, bits - index * 8))));
  return [Buffer.from(first).toString("hex"), Buffer.from(last).toString("hex")];
}
