/** The steps of a tenant's latest change, from the stream to each edge. Times are milliseconds since 1970. */
export interface TraceFacts {
  sequence: string | undefined;
  startedAt: number;
  admittedAt: number | undefined;
  /** What admission decided: `admitted`, `rejected`, `pending` … */
  decision: string;
  committedAt: number | undefined;
  generation: number | undefined;
  acks: { edgeId: string; region: string; at: number }[];
  settledAt: number | undefined;
}

export interface TraceStep {
  step: string;
  at: number;
  /** Milliseconds since the step before, and since the first. */
  sinceLast: number;
  sinceStart: number;
}

/** The steps that are known, in the order of their times. */
export function traceOf(facts: TraceFacts): TraceStep[] {
  const { sequence, generation } = facts;
  const steps: [string, number | undefined][] = [
    [sequence === undefined ? "rollout started by the audit" : `stream ${sequence}`, facts.startedAt],
    [facts.decision, facts.admittedAt],
    [`committed as generation ${generation}`, facts.committedAt],
    ...facts.acks.map(({ edgeId, region, at }): [string, number] => [`served by ${edgeId} (${region})`, at]),
    ["settled", facts.settledAt],
  ];
  const known = steps.flatMap(([step, at]) => (at === undefined ? [] : [{ step, at }])).sort((a, b) => a.at - b.at);
  return known.map(({ step, at }, index) => ({
    step,
    at,
    sinceLast: at - (known[index - 1]?.at ?? at),
    sinceStart: at - known[0]!.at,
  }));
}
