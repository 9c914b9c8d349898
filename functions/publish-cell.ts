/** The publisher of a cell: turns its dirty set into commits, and copies each commit to every region. */
import { type CellState, type CopyFailure, clearTrouble, noteTrouble } from "../aws/ledger/cells.ts";
import { type DirtyBatch, readDirty } from "../aws/ledger/dirty-set.ts";
import { readSummaries } from "../aws/ledger/edges.ts";
import { releaseLease, takeLease } from "../aws/ledger/leases.ts";
import { logger } from "../aws/logger.ts";
import { loadSettings } from "../aws/settings.ts";
import { copyToRegions } from "../control/publishing/copies.ts";
import {
  carryOut,
  changesOf,
  decide,
  readCellUnlessBehind,
  readPublishFacts,
} from "../control/publishing/publication.ts";
import { isFailing, keepLease, newPublisher, type Publisher } from "../control/publishing/publisher.ts";
import { evaluateWaits } from "../control/rollout/waits.ts";
import { placesOf } from "../core/edges/edge.ts";
import { LeaseHeldError } from "../core/errors.ts";
import type { Commit } from "../core/publishing/commit.ts";
import { sameEdges, sameStructure, withheldAfter, withheldInWords } from "../core/publishing/plan.ts";
import { structureOf } from "../core/publishing/structure.ts";
import { publishLimits } from "../schemas/limits.ts";
import type { EdgePlace } from "../schemas/snapshot.ts";
import { PublishInput } from "../schemas/workflows.ts";
import { handler as shell } from "./shell/handler.ts";

const { leaseMs, reserveMs, failureCharactersMax } = publishLimits;

/**
 * Returns `published` with the generation, or `delegated` when another publisher has the lease: that publisher reads
 * the dirty set again after it released the lease, so no work is lost. Returns `more` when its time is nearly up and
 * work is left: the workflow calls it again. Returns `frozen` without publishing: reconcile does the work later.
 */
export const handler = shell(PublishInput, async ({ cell }, { awsRequestId, getRemainingTimeInMillis }) => {
  const settings = await loadSettings();
  if (settings.frozen) return { cell, state: "frozen" as const };
  const hasTime = () => getRemainingTimeInMillis() > reserveMs;
  let drained: Drained | undefined;
  for (let isEmpty = false; !isEmpty; ) {
    if (!hasTime()) return { cell, state: "more" as const };
    const now = Date.now();
    const lease = await takeLease(`publish#${cell}`, awsRequestId, leaseMs, now);
    if (lease === undefined) return { cell, state: "delegated" as const };
    const publisher = newPublisher(cell, settings, lease, now);
    try {
      drained = await drain(publisher, hasTime);
    } catch (error) {
      if (!(error instanceof LeaseHeldError))
        await noteTrouble(cell, String(error).slice(0, failureCharactersMax), Date.now());
      throw error;
    } finally {
      await releaseLease(lease);
    }
    // A publisher retries failing regions only if it had no other work, and only after it released the lease.
    if (drained.commits === 0) await copyToRegions(publisher, drained.live, drained.failing, () => true);
    await evaluateWaits(cell, Date.now()); // a batch that the live commit covers already brings no new ack
    isEmpty = (await readDirty(cell)).length === 0;
  }
  return { cell, state: "published" as const, generation: drained?.live.generation };
});

interface Drained {
  live: Commit;
  commits: number;
  /** Regions without the live commit. */
  failing: CopyFailure[];
}

/** Commits until the dirty set is empty, and copies each commit to the regions that do not fail. */
async function drain(publisher: Publisher, hasTime: () => boolean): Promise<Drained> {
  const { cell } = publisher;
  const state = await readCellUnlessBehind(publisher);
  const { copyFailures: failing } = state;
  const edges = placesOf(await readSummaries(cell));
  const isWell = (region: string) => !isFailing(region, failing);
  let live = state.commit;
  let { withheld } = state;
  let commits = 0;
  let isFirst = true;
  for (
    let batches = await readDirty(cell);
    (isFirst && withheld.length > 0) || needsCommit(state, live, batches, edges);
    batches = await readDirty(cell)
  ) {
    if (live !== undefined && !hasTime()) break;
    await keepLease(publisher, 0);
    const facts = await readPublishFacts(publisher, state, live, changesOf(batches, withheld, isFirst), edges);
    const plan = decide(facts);
    const after = withheldAfter(withheld, new Set(facts.buckets.map(({ bucket }) => bucket)), plan);
    const outcome = await carryOut(publisher, plan, live, batches, { before: withheld, after });
    if (outcome === "lost") throw new LeaseHeldError(`another publisher took cell ${cell} over`);
    if (outcome === "stale") continue; // a batch was marked again: the next plan reads it
    if (plan.commit !== live)
      logger.info("committed", { cell, generation: plan.commit.generation, batches: batches.length });
    if (plan.commit !== live || batches.length > 0) commits++;
    live = plan.commit;
    withheld = after;
    isFirst = false;
    await copyToRegions(publisher, live, failing, isWell);
  }
  await copyToRegions(publisher, live!, failing, isWell);
  const trouble = withheldInWords(withheld).join(". ").slice(0, failureCharactersMax);
  if (trouble !== "" && trouble !== state.trouble?.reason) await noteTrouble(cell, trouble, Date.now());
  if (trouble === "" && state.trouble !== undefined) await clearTrouble(cell);
  return { live: live!, commits, failing };
}

/** Whether there is work, nothing was ever published, or the structure or the edges have changed. */
const needsCommit = ({ structure }: CellState, live: Commit | undefined, batches: DirtyBatch[], edges: EdgePlace[]) =>
  batches.length > 0 ||
  live === undefined ||
  !sameEdges(edges, live.edges) ||
  (structure !== undefined && !sameStructure(structureOf(structure.state), live.structure));
