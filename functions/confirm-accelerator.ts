/** Failover's read-back: the accelerator shows what was decided, or the step is done again. */

import { evaluateFailover } from "../control/failover/evaluate.ts";
import { NotConvergedError } from "../core/errors.ts";
import { FailoverInput } from "../schemas/workflows.ts";
import { handler as shell } from "./shell/handler.ts";

export const handler = shell(FailoverInput, async ({ cell }) => {
  const { changes, held } = await evaluateFailover(cell);
  if (changes.length > 0) throw new NotConvergedError(`${changes.length} group(s) of ${cell} are not as desired yet`);
  return { cell, converged: true, held };
});
