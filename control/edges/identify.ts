/** Who wrote the reports: known edges by the ledger, new ones by EC2. */
import { describeInstance } from "../../aws/compute.ts";
import { readDetails, readStored, type StoredSummary } from "../../aws/ledger/edges.ts";
import { logger } from "../../aws/logger.ts";
import { inParallel } from "../../aws/parallel.ts";
import { loadSettings } from "../../aws/settings.ts";
import { type EdgeIdentity, isUnheard, type WrittenReport } from "../../core/edges/edge.ts";
import { type Ignored, identityOf } from "../../core/edges/identity.ts";
import { writerOf } from "../../schemas/report.ts";

/** A report, the edge that wrote it, and what the ledger has of the edge; nothing of a new one. */
export interface Identified {
  written: WrittenReport;
  identity: EdgeIdentity;
  known: StoredSummary | undefined;
}

/** A report that counts for no edge. */
export interface Unidentified {
  written: WrittenReport;
  ignored: Ignored;
}

/** The cell of each edge that this instance of the function has seen. An edge's cell never changes. */
const cells = new Map<string, string>();

/** Leaves out new edges that EC2 can't be asked about: their next reports are looked up again. */
export async function identify(reports: WrittenReport[]): Promise<(Identified | Unidentified)[]> {
  const unseen = reports.map(({ writer }) => writerOf(writer)).filter((edgeId) => !cells.has(edgeId));
  for (const [edgeId, { detail }] of await readDetails(unseen)) cells.set(edgeId, detail.cell);
  const here = new Set(reports.flatMap(({ writer }) => cells.get(writerOf(writer)) ?? []));
  const known = new Map((await inParallel([...here], readStored)).flatMap((stored) => [...stored]));
  const identified = await inParallel(reports, async (written) => {
    const stored = known.get(writerOf(written.writer));
    return isUnheard(stored?.summary) ? lookUp(written, stored) : ofKnown(written, stored!);
  });
  return identified.filter((found) => found !== undefined);
}

function ofKnown(written: WrittenReport, known: StoredSummary): Identified | Unidentified {
  const { edgeId, cell, region, address, terminated } = known.summary;
  if (terminated === true) return { written, ignored: "terminated instance" };
  return { written, identity: { edgeId, cell, region, address }, known };
}

async function lookUp(
  written: WrittenReport,
  known: StoredSummary | undefined,
): Promise<Identified | Unidentified | undefined> {
  const { region } = written.report;
  const edgeId = writerOf(written.writer);
  if (known?.summary.terminated === true) return { written, ignored: "terminated instance" };
  const { fleet } = await loadSettings();
  if (!fleet.cells.some((cell) => cell.regions.includes(region))) return { written, ignored: "unknown region" };
  try {
    const identity = identityOf(edgeId, region, await describeInstance(region, edgeId), fleet);
    return typeof identity === "string" ? { written, ignored: identity } : { written, identity, known };
  } catch (error) {
    logger.warn("can't look up the instance", { edgeId, region, error: error as Error });
    return undefined;
  }
}
