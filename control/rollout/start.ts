import { createBatch } from "../../aws/ledger/batches.ts";
import { environment } from "../../aws/settings.ts";
import { startExecution } from "../../aws/workflows.ts";
import { batchIdOf, chunksOf } from "../../core/rollout/batch.ts";

/**
 * Starts rollouts for these tenants, in batches that fit. `tenants` maps each id to the stream's sequence number of its
 * last record, or "". The same name and tenants give the same batches and executions. Rollouts with a `turn` wait first.
 */
export async function startRollouts(
  name: string,
  tenants: Map<string, string>,
  now: number,
  { turn = false }: { turn?: boolean } = {},
): Promise<void> {
  for (const [index, tenantIds] of chunksOf([...tenants.keys()]).entries()) {
    const batchId = batchIdOf(name, index);
    const sequences = tenantIds.map((id) => tenants.get(id) ?? "");
    await createBatch(batchId, tenantIds, now, sequences);
    await startExecution(environment.LANDFALL_ROLLOUT_MACHINE!, batchId, { batchId, turn });
  }
}
