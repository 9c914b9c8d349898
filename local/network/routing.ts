/** Chooses the endpoint of a new connection by Global Accelerator's rules, as far as they are documented. Pure. */

export interface Endpoint {
  id: string;
  address: string;
  weight: number;
  healthy: boolean;
}
export interface Group {
  region: string;
  dial: number;
  endpoints: Endpoint[];
}

/** Groups to try when the nearest has no healthy endpoint. AWS's documents disagree: three, or all. */
const groupsTried = 3;

/**
 * Nearest group first. A dial below 100 limits a group to that share of its traffic; the next group gets the rest. A
 * group without a healthy endpoint of weight above zero passes its traffic to the next group, where dials are ignored.
 * If no endpoint is healthy, fails open to the nearest group. `flow` and `share` are in [0, 1): the flow's hash, and
 * the random number for the dial.
 */
export function route(
  groups: Group[],
  distance: (region: string) => number,
  flow: number,
  share: number,
): { group: Group; endpoint: Endpoint } | undefined {
  const byDistance = groups
    .filter(({ endpoints }) => endpoints.length > 0)
    .sort((a, b) => distance(a.region) - distance(b.region));
  const dialled = byDistance.filter(({ dial }) => dial > 0 && share < dial / 100);
  const preferred = dialled.find(hasCapacity);
  const failover = byDistance.slice(0, groupsTried).find(hasCapacity) ?? byDistance.find(hasCapacity);
  const group = preferred ?? failover;
  if (group !== undefined) return { group, endpoint: pick(group.endpoints.filter(takes), flow) };
  const nearest = byDistance[0];
  if (nearest === undefined) return undefined;
  const open = nearest.endpoints.map((endpoint) => ({ ...endpoint, weight: Math.max(1, endpoint.weight) }));
  return { group: nearest, endpoint: pick(open, flow) };
}

const takes = ({ healthy, weight }: Endpoint) => healthy && weight > 0;
const hasCapacity = ({ endpoints }: Group) => endpoints.some(takes);

/** Picks an endpoint in proportion to the weights. */
function pick(endpoints: Endpoint[], flow: number): Endpoint {
  const total = endpoints.reduce((sum, { weight }) => sum + weight, 0);
  let at = flow * total;
  for (const endpoint of endpoints) {
    at -= endpoint.weight;
    if (at < 0) return endpoint;
  }
  return endpoints.at(-1)!;
}
