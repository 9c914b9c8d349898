import { readCoverage } from "../../aws/ledger/batches.ts";
import { readSummaries } from "../../aws/ledger/edges.ts";
import { readWaits, removeWait, type Wait } from "../../aws/ledger/waits.ts";
import { completeTask } from "../../aws/workflows.ts";
import { evaluateWait } from "../../core/rollout/waits.ts";

/**
 * Checks every wait of the cell and ends those that are satisfied. It is called after every ack, nack, new wait and
 * change of membership, so that the last of these calls ends the wait.
 */
export async function evaluateWaits(cell: string, now: number): Promise<void> {
  await evaluate(cell, await readWaits(cell), now);
}

export async function evaluate(cell: string, waits: Wait[], now: number): Promise<void> {
  if (waits.length === 0) return;
  const [edges, coverage] = await Promise.all([
    readSummaries(cell),
    readCoverage(
      cell,
      waits.map(({ batchId }) => batchId),
    ),
  ]);
  for (const { batchId, token } of waits) {
    const covered = coverage.get(batchId);
    if (covered === undefined || !evaluateWait(covered.generation, edges, now).satisfied) continue;
    await completeTask(token, { generation: covered.generation });
    await removeWait(cell, batchId, token);
  }
}
