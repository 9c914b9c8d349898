/** Which reports of a delivery count, and how far. */
import { EdgeReport } from "../../schemas/report.ts";
import type { WrittenReport } from "./edge.ts";

/** A report as the table's stream delivers it. */
export interface ReportRecord extends Omit<WrittenReport, "report"> {
  text: string;
}

/** The last report of each writer, which says all that the ones before said, and writers whose last report is malformed. */
export function lastReports(records: ReportRecord[]): { reports: WrittenReport[]; malformed: string[] } {
  const last = new Map(records.map((record) => [record.writer, record]));
  const parsed = [...last.values()].map(({ text, ...record }) => ({ ...record, read: parse(text) }));
  return {
    reports: parsed.flatMap(({ read, ...record }) => (read === undefined ? [] : [{ ...record, report: read }])),
    malformed: parsed.flatMap(({ read, writer }) => (read === undefined ? [writer] : [])),
  };
}

function parse(text: string): EdgeReport | undefined {
  try {
    return EdgeReport.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined; // counted as malformed: its writer is a foreign program
  }
}

/**
 * The report without what its edge can't know: a generation that was never committed, and refusals of unknown tenants. Its
 * repetition is no mere beat then: after a restored ledger is rebuilt, the same words are true.
 */
export function credible(
  report: EdgeReport,
  { live, known, isTenant }: { live: number; known: number; isTenant: (tenantId: string) => boolean },
): { report: EdgeReport; doubts: ("generation above the live commit" | "refusal of an unknown tenant's route")[] } {
  const isAbove = report.appliedGeneration > Math.max(live, known);
  const rejectedRoutes = report.rejectedRoutes.filter(({ tenantId }) => isTenant(tenantId));
  const isOfUnknown = rejectedRoutes.length < report.rejectedRoutes.length;
  if (!isAbove && !isOfUnknown) return { report, doubts: [] };
  const appliedGeneration = isAbove ? known : report.appliedGeneration;
  return {
    report: { ...report, rejectedRoutes, appliedGeneration, changedAt: 0 },
    doubts: [
      ...(isAbove ? ["generation above the live commit" as const] : []),
      ...(isOfUnknown ? ["refusal of an unknown tenant's route" as const] : []),
    ],
  };
}
