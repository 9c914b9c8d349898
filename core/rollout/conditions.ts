import type { TenantRow } from "../admission/tenant-row.ts";

/** One aspect of a tenant, as Kubernetes writes it. */
export interface Condition {
  type: "Admitted" | "Published" | "Served";
  status: "True" | "False" | "Unknown";
  /** One word for programs. */
  reason: string;
  /** A text for people; may be empty. */
  message: string;
  /** The tenant's generation that the condition describes. */
  generation: number;
  /** When it became so, in milliseconds since 1970. */
  at?: number;
}

export interface ConditionFacts {
  row: TenantRow;
  status:
    | {
        observedGeneration: number;
        snapshotGeneration: number;
        served: string;
        missing: string[];
        committedAt: number;
        settledAt: number;
      }
    | undefined;
  refusals: { edgeId: string; region: string; reason: string; at: number }[];
}

/** The conditions of a tenant: Admitted, Published and Served, in this order. */
export function conditionsOf({ row, status, refusals }: ConditionFacts): Condition[] {
  const removed = row.neverAdmitted === true ? 0 : row.generation;
  const wanted = row.state === "Removed" ? removed : (row.admitted?.generation ?? 0);
  return [admitted(row), published(wanted, status), served(row, wanted, status, refusals)];
}

function admitted({ state, reasons, generation, at }: TenantRow): Condition {
  const good = state === "Admitted" || state === "Suspended";
  const [waitsFor] = ["CellFull", "Unproven"].filter((word) => reasons.some((reason) => reason.startsWith(word)));
  return {
    type: "Admitted",
    status: good ? "True" : "False",
    reason: (state === "Pending" ? waitsFor : undefined) ?? state,
    message: reasons.join("; "),
    generation,
    at,
  };
}

function published(generation: number, status: ConditionFacts["status"]): Condition {
  const base = { type: "Published" as const, generation };
  if (generation === 0) return { ...base, status: "False", reason: "NeverAdmitted", message: "" };
  if (status === undefined || status.observedGeneration < generation)
    return { ...base, status: "Unknown", reason: "RollingOut", message: "no settled commit has it yet" };
  const message = `in generation ${status.snapshotGeneration} of the cell`;
  return { ...base, status: "True", reason: "Committed", message, at: status.committedAt };
}

function served(
  { state }: TenantRow,
  generation: number,
  status: ConditionFacts["status"],
  refusals: ConditionFacts["refusals"],
): Condition {
  const base = { type: "Served" as const, generation };
  if (generation === 0) return { ...base, status: "False", reason: "NeverAdmitted", message: "" };
  if (refusals.length > 0) {
    const message = refusals.map(({ edgeId, region, reason }) => `${edgeId} (${region}): ${reason}`).join("; ");
    const at = Math.min(...refusals.map((refusal) => refusal.at));
    return { ...base, status: "False", reason: "Quarantined", message, at };
  }
  if (status === undefined || status.observedGeneration < generation)
    return { ...base, status: "Unknown", reason: "RollingOut", message: "" };
  const settled = { ...base, message: status.missing.join("; "), at: status.settledAt };
  if (status.served !== "all")
    return { ...settled, status: "False", reason: status.served === "partly" ? "PartlyServed" : "NotServed" };
  if (state === "Suspended" || state === "Removed") return { ...settled, status: "False", reason: state };
  return { ...settled, status: "True", reason: "ServedByAll" };
}
