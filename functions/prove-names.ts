/** Looks for the TXT records that show whose names are, and starts rollouts for tenants whose names are proven. */
import { readTexts } from "../aws/dns.ts";
import { type Awaited, readDue, saveLook, saveProof } from "../aws/ledger/proofs.ts";
import { logger } from "../aws/logger.ts";
import { inParallel } from "../aws/parallel.ts";
import { loadSettings } from "../aws/settings.ts";
import { readRecords } from "../aws/tenants.ts";
import { startRollouts } from "../control/rollout/start.ts";
import { ownerOf } from "../core/names/claims.ts";
import { nextLookAt, proofNameOf, tokenOf } from "../core/names/proof.ts";
import { parseTenantRecord } from "../schemas/tenant.ts";
import { ProveInput } from "../schemas/workflows.ts";
import { handler as shell } from "./shell/handler.ts";

/** Time that is left for what was found, in milliseconds. */
const reserveMs = 10_000;

export const handler = shell(ProveInput, async (_, { awsRequestId, getRemainingTimeInMillis }) => {
  const { fleet } = await loadSettings();
  if (!fleet.requireProof) return { due: 0, proven: 0 }; // audits try those that still wait
  const now = Date.now();
  const due = await readDue(now);
  const owners = await readOwners(due);
  const proven: string[] = [];
  await inParallel(due, async (awaited) => {
    const owner = owners.get(awaited.tenantId);
    if (owner === undefined || getRemainingTimeInMillis() < reserveMs) return;
    const token = tokenOf(fleet.stage, owner);
    const found = await Promise.all(awaited.names.map((name) => hasToken(name, token)));
    await Promise.all(awaited.names.map((name, index) => found[index] && saveProof(owner, name, now)));
    if (found.every(Boolean)) proven.push(awaited.tenantId);
    const looks = awaited.looks + 1;
    await saveLook(awaited, { looks, nextAt: nextLookAt(looks, now) });
  });
  if (proven.length > 0) await startRollouts(`prove-${awsRequestId}`, new Map(proven.map((id) => [id, ""])), now);
  logger.info("proofs looked for", { due: due.length, proven: proven.length });
  return { due: due.length, proven: proven.length };
});

/** Whose the names will be. A record that is gone or bad has no owner: admission ends its wait. */
async function readOwners(due: Awaited[]): Promise<Map<string, string>> {
  const records = await readRecords(due.map(({ tenantId }) => tenantId));
  return new Map(
    [...records].flatMap(([tenantId, input]) => {
      const parsed = parseTenantRecord(input);
      return parsed.ok ? [[tenantId, ownerOf(parsed.record)] as const] : [];
    }),
  );
}

async function hasToken(name: string, token: string): Promise<boolean> {
  try {
    return (await readTexts(proofNameOf(name))).includes(token);
  } catch (error) {
    logger.info("the DNS did not answer", { name: proofNameOf(name), error: error as Error });
    return false; // looked for again
  }
}
