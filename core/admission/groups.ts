/** Which admissions are written in one transaction: it costs what they cost alone, in one call. */
import { tenantLimits } from "../../schemas/limits.ts";
import { pointOf } from "../names/claims.ts";
import { type AdmissionPlan, writesOf } from "./admit.ts";

const { transactionWritesMax, admissionsPerTransactionMax } = tenantLimits;

/**
 * The plans in groups, in order. A group fits into a transaction, which takes no item twice: of what different tenants write,
 * only the points of names can be the same.
 */
export function groupsOf(plans: AdmissionPlan[]): AdmissionPlan[][] {
  const groups: { plans: AdmissionPlan[]; writes: number; points: Set<string> }[] = [];
  for (const plan of plans) {
    const writes = writesOf(plan);
    const points = [...plan.claim, ...plan.release].map(pointOf);
    const open = groups.find(
      (group) =>
        group.plans.length < admissionsPerTransactionMax &&
        group.writes + writes <= transactionWritesMax &&
        !points.some((point) => group.points.has(point)),
    );
    const group = open ?? { plans: [], writes: 0, points: new Set<string>() };
    if (open === undefined) groups.push(group);
    group.plans.push(plan);
    group.writes += writes;
    for (const point of points) group.points.add(point);
  }
  return groups.map((group) => group.plans);
}
