/** A route file's text, and back. The format is the router's (edge/structure/router.js). Pure. */

/**
 * The healthy backends of the nearest group that has any, an empty line, the others. When none is healthy the nearest group
 * comes first: missing health is no reason to turn users away.
 * @param groups backends a region, nearest first; none empty
 */
export function routeContent(groups: string[][], isUp: (backend: string) => boolean): string {
  const nearest = groups.find((group) => group.some(isUp)) ?? groups[0]!;
  const healthy = nearest.filter(isUp);
  const first = healthy.length > 0 ? healthy : nearest;
  const rest = groups.flat().filter((backend) => !first.includes(backend));
  const lines = (backends: string[]) => backends.map((backend) => `${isUp(backend) ? "+" : "-"}${backend}\n`).join("");
  return rest.length === 0 ? lines(first) : `${lines(first)}\n${lines(rest)}`;
}

/** The backends in a route file, for want of their regions in the order that it gives them. */
export const backendsIn = (content: string): string[] =>
  content.split("\n").flatMap((line) => (/^[+-]./.test(line) ? [line.slice(1)] : []));
