/** Writes and parses the text of a route file. The router defines the format (edge/structure/router.js). Pure. */
import type { ServedRoute } from "./route-files.ts";

/**
 * Its lines: the owner; the healthy backends of the nearest group that has any; an empty line; the others. If no
 * backend is healthy, the nearest group comes first: missing health is no reason to reject users.
 */
export function routeContent(
  { slot, tenantId, groups }: Pick<ServedRoute, "slot" | "tenantId" | "groups">,
  isUp: (backend: string) => boolean,
): string {
  const nearest = groups.find((group) => group.some(isUp)) ?? groups[0]!;
  const healthy = nearest.filter(isUp);
  const first = healthy.length > 0 ? healthy : nearest;
  const rest = groups.flat().filter((backend) => !first.includes(backend));
  const lines = (backends: string[]) => backends.map((backend) => `${isUp(backend) ? "+" : "-"}${backend}\n`).join("");
  const head = `${slot} ${tenantId}\n${lines(first)}`;
  return rest.length === 0 ? head : `${head}\n${lines(rest)}`;
}

/** Parses a route file. It has no regions, so its backends form one group. Undefined if it is not a route file. */
export function readContent(content: string): Pick<ServedRoute, "slot" | "tenantId" | "groups"> | undefined {
  const [, slot, tenantId] = /^(\d+) (\S+)\n/.exec(content) ?? [];
  const backends = content.split("\n").flatMap((line) => (/^[+-]./.test(line) ? [line.slice(1)] : []));
  if (slot === undefined || tenantId === undefined || backends.length === 0) return undefined;
  return { slot: Number(slot), tenantId, groups: [backends] };
}
