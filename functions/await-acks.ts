/** Stores a task token to answer when every counted edge serves the batch, and checks whether they do already. */
import { storeWait } from "../aws/ledger/waits.ts";
import { evaluate } from "../control/rollout/waits.ts";
import { AwaitAcksInput } from "../schemas/workflows.ts";
import { handler as shell } from "./shell/handler.ts";

export const handler = shell(AwaitAcksInput, async ({ batchId, cell, token }) => {
  await storeWait(cell, { batchId, token });
  await evaluate(cell, [{ batchId, token }], Date.now());
});
