/** What an accelerator is and what it should be: endpoint groups with dials, and endpoints with weights. Pure. */

/** Weight of an edge that takes its whole share, and of one that is nearly full: a quarter of the others' new users. */
export const fullWeight = 128;
export const tightWeight = 32;
export const fullDial = 100;

export interface Endpoint {
  edgeId: string;
  weight: number;
}

/** What the accelerator should be: always whole lists, with every weight. */
export interface Model {
  groups: { region: string; dial: number; endpoints: Endpoint[] }[];
}

export interface ObservedEndpoint extends Endpoint {
  health: "INITIAL" | "HEALTHY" | "UNHEALTHY";
}

/** How a group checks its endpoints, and to which ports it sends users. */
export interface GroupSettings {
  protocol: string;
  path: string;
  port: number;
  intervalSeconds: number;
  failures: number;
  /** The listener's port and the endpoints' port for it. */
  overrides: [listener: number, endpoint: number][];
}

export interface Observed {
  groups: { region: string; arn: string; dial: number; endpoints: ObservedEndpoint[]; settings?: GroupSettings }[];
  enabled?: boolean;
  /** Ranges of the listener's ports. */
  ports?: [from: number, to: number][];
  /** The last write is not everywhere yet. */
  inProgress?: boolean;
}

/** Endpoints by edge, with their regions. */
export const endpointsIn = <E extends Endpoint>(model: { groups: { region: string; endpoints: E[] }[] }) =>
  new Map(
    model.groups.flatMap(({ region, endpoints }) =>
      endpoints.map((endpoint) => [endpoint.edgeId, { ...endpoint, region }] as const),
    ),
  );

/** Endpoints of a group that would take users: the accelerator finds them healthy. Dials and weights of zero keep users away. */
export function takersIn(group: Model["groups"][number], observed: Observed): Endpoint[] {
  if (group.dial === 0) return [];
  const present = endpointsIn(observed);
  return group.endpoints.filter(({ edgeId, weight }) => weight > 0 && present.get(edgeId)?.health === "HEALTHY");
}

/** What an accelerator shows, as a model. */
export const modelOf = ({ groups }: Observed): Model => ({
  groups: groups.map(({ region, dial, endpoints }) => ({
    region,
    dial,
    endpoints: endpoints.map(({ edgeId, weight }) => ({ edgeId, weight })),
  })),
});

/** The same model with other weights, for edges that `weightOf` gives one. */
export const withWeights = ({ groups }: Model, weightOf: (edgeId: string) => number | undefined): Model => ({
  groups: groups.map((group) => ({
    ...group,
    endpoints: group.endpoints.map(({ edgeId, weight }) => ({ edgeId, weight: weightOf(edgeId) ?? weight })),
  })),
});

export const withDials = ({ groups }: Model, dialOf: (region: string) => number | undefined): Model => ({
  groups: groups.map((group) => ({ ...group, dial: dialOf(group.region) ?? group.dial })),
});
