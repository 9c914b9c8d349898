/** Failover's read-back: if the accelerator does not show what was decided, the step is repeated. */

import { evaluateFailover } from "../control/failover/evaluate.ts";
import { NotConvergedError } from "../core/errors.ts";
import { FailoverInput } from "../schemas/workflows.ts";
import { handler as shell } from "./shell/handler.ts";

export const handler = shell(FailoverInput, async ({ cell }) => {
  const { changes, held } = await evaluateFailover(cell);
  if (changes.length > 0) throw new NotConvergedError(`${changes.length} group(s) of ${cell} are not as desired yet`);
  return { cell, converged: true, held };
});
