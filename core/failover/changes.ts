/** The writes that make an accelerator what it should be, in their order, and what it shows after them. Pure. */
import { type Model, type Observed, takersIn } from "./model.ts";

export type Change =
  | { kind: "create"; region: string; dial: number; endpoints: { edgeId: string; weight: number }[] }
  | {
      kind: "update";
      region: string;
      arn: string;
      dial: number;
      endpoints: { edgeId: string; weight: number }[];
      /** The list stays as it is: it is not sent, so that one bad endpoint in it can't make AWS refuse the dial. */
      onlyDial: boolean;
    };

/**
 * The writes that change `observed` to `desired`; empty when converged. Groups that gain endpoints that take users come
 * first, then those that gain load: so at no moment fewer take users than before the first write or after the last one.
 */
export function changesBetween(desired: Model, observed: Observed): Change[] {
  const dead = new Set(
    observed.groups.flatMap(({ endpoints }) =>
      endpoints.filter(({ health }) => health === "UNHEALTHY").map(({ edgeId }) => edgeId),
    ),
  );
  const changes = desired.groups.flatMap<Change & { takers: number; load: number }>((group) => {
    const old = observed.groups.find((candidate) => candidate.region === group.region);
    if (group.endpoints.length === 0) return [];
    const gain = {
      takers: takersIn(group, observed).length - (old === undefined ? 0 : takersIn(old, observed).length),
      load: load(group, dead) - (old === undefined ? 0 : load(old, dead)),
    };
    if (old === undefined) return [{ kind: "create", ...group, ...gain }];
    if (sameList(old, group) && old.dial === group.dial) return [];
    return [{ kind: "update", arn: old.arn, ...group, onlyDial: sameList(old, group), ...gain }];
  });
  return changes
    .toSorted((a, b) => b.takers - a.takers || b.load - a.load || (a.region < b.region ? -1 : 1))
    .map(({ takers: _, load: __, ...change }) => change);
}

/** What the accelerator shows after the write. A new endpoint is not checked yet. */
export function written({ groups }: Observed, change: Change): Observed {
  const old = groups.find(({ region }) => region === change.region);
  const health = new Map(old?.endpoints.map((endpoint) => [endpoint.edgeId, endpoint.health]));
  const endpoints = change.endpoints.map((endpoint) => ({
    ...endpoint,
    health: health.get(endpoint.edgeId) ?? ("INITIAL" as const),
  }));
  const { region, dial } = change;
  const group = { region, dial, endpoints, arn: change.kind === "update" ? change.arn : "" };
  return { groups: [...groups.filter((other) => other !== old), group].sort((a, b) => (a.region < b.region ? -1 : 1)) };
}

/** The least that the accelerator may show after a write that failed: it may have taken effect, or take effect later. */
export function uncertain({ groups }: Observed, change: Change): Observed {
  const weights = new Map(change.endpoints.map(({ edgeId, weight }) => [edgeId, weight]));
  return {
    groups: groups.map((group) => {
      if (group.region !== change.region) return group;
      const endpoints = group.endpoints.map((one) => ({
        ...one,
        weight: Math.min(one.weight, weights.get(one.edgeId) ?? 0),
      }));
      return { ...group, dial: Math.min(group.dial, change.dial), endpoints };
    }),
  };
}

/** The endpoint of a list because of which AWS refused it, if its answer names one. */
export function refusedEndpoint(change: Change, error: unknown): string | undefined {
  if (!(error instanceof Error) || !/^(InvalidArgument|EndpointNotFound)Exception$/.test(error.name)) return undefined;
  const named = change.endpoints.filter(({ edgeId }) => error.message.includes(edgeId));
  return named.length === 1 ? named[0]!.edgeId : undefined;
}

/** The load that a group can take. Unhealthy endpoints take none, whatever their weight. */
const load = (group: { dial: number; endpoints: { edgeId: string; weight: number }[] }, dead: Set<string>) =>
  group.dial * group.endpoints.reduce((sum, { edgeId, weight }) => sum + (dead.has(edgeId) ? 0 : weight), 0);

function sameList(
  a: { endpoints: { edgeId: string; weight: number }[] },
  b: { endpoints: { edgeId: string; weight: number }[] },
): boolean {
  const weights = new Map(a.endpoints.map((endpoint) => [endpoint.edgeId, endpoint.weight]));
  return (
    weights.size === b.endpoints.length &&
    b.endpoints.every((endpoint) => weights.get(endpoint.edgeId) === endpoint.weight)
  );
}
