/** The audit's second part: starts rollouts for tenants whose record, ledger, snapshot and status don't agree. */
import { type LedgerItem, readFindings, saveFindings, scanLedger } from "../aws/ledger/audit.ts";
import { readCell } from "../aws/ledger/cells.ts";
import { readRoutes } from "../aws/ledger/commits.ts";
import { logger } from "../aws/logger.ts";
import { loadSettings, type Settings } from "../aws/settings.ts";
import { getRoutes } from "../aws/snapshots.ts";
import { scanRecords } from "../aws/tenants.ts";
import { homeFirst } from "../control/publishing/regions.ts";
import { startRollouts } from "../control/rollout/start.ts";
import type { TenantRow } from "../core/admission/tenant-row.ts";
import { persistentDifferences } from "../core/audit/drift.ts";
import { admissible, type LedgerTenant, tenantDifferences } from "../core/audit/tenants.ts";
import { canonicalJson, plain } from "../core/canonical.ts";
import { renderBucket } from "../core/publishing/render.ts";
import { everyBucket } from "../core/routes/buckets.ts";
import { routeDifferences } from "../core/routes/differences.ts";
import { type CellRoom, roomIn } from "../core/slots/placement.ts";
import { sha256 } from "../schemas/signed.ts";
import { AuditInput } from "../schemas/workflows.ts";
import { handler as shell } from "./shell/handler.ts";

const scope = "tenants";

export const handler = shell(AuditInput, async (_, { awsRequestId }) => {
  const settings = await loadSettings();
  if (settings.frozen) return { found: 0, mended: 0 };
  const { tenants, owners, pending } = await readLedger();
  const { hashes, protocols } = await readRecords(new Set(pending.map(({ tenantId }) => tenantId)));
  const differences = tenantDifferences(hashes, tenants, owners);
  for (const [tenantId, how] of await readRouteDifferences(settings))
    if (!differences.has(tenantId)) differences.set(tenantId, how);
  const now = Date.now();
  const due = persistentDifferences(differences, await readFindings(scope), now);
  const waiting = pending.map((row) => ({ ...row, protocols: protocols.get(row.tenantId) ?? [] }));
  const admitted = admissible(waiting, await readRooms(settings)); // one audit is enough: they wait for room
  await startRollouts(`audit-${awsRequestId}`, new Map([...due, ...admitted].map((id) => [id, ""])), now);
  // Saved after the rollouts are started: if the audit dies in between, the next one finds the same differences.
  await saveFindings(scope, differences, now);
  logger.info("drift checked", { found: differences.size, due: due.length, pending: admitted.length });
  return { found: differences.size, mended: due.length + admitted.length };
});

/** The hash of every record, and the protocols of the wanted ones. */
async function readRecords(wanted: Set<string>) {
  const hashes = new Map<string, string>();
  const protocols = new Map<string, string[]>();
  for await (const page of scanRecords())
    for (const record of page) {
      const { tenantId, protocols: map } = record as { tenantId: string; protocols?: unknown };
      hashes.set(tenantId, sha256(canonicalJson(plain(record))));
      if (wanted.has(tenantId)) protocols.set(tenantId, Object.keys((map as object | null) ?? {}));
    }
  return { hashes, protocols };
}

async function readLedger() {
  const rows = new Map<string, TenantRow>();
  const observed = new Map<string, { generation: number; served: string }>();
  const owners = new Map<string, string>();
  for await (const page of scanLedger())
    for (const item of page) {
      if (item.sk === "ROW") rows.set((item.row as TenantRow).tenantId, item.row as TenantRow);
      else if (item.sk === "CLAIM") owners.set(item.pk.slice("CLAIM#".length), String(item.tenantId));
      else if (item.sk === "STATUS" && item.observed !== undefined) observed.set(String(item.tenantId), statusIn(item));
    }
  const tenants = new Map([...rows].map(([id, row]) => [id, ledgerTenant(row, observed.get(id))]));
  const pending = [...rows.values()].filter(({ state }) => state === "Pending");
  return { tenants, owners, pending };
}

const statusIn = ({ observed }: LedgerItem) => {
  const { observedGeneration, served } = observed as { observedGeneration: number; served: string };
  return { generation: observedGeneration, served };
};

/** A removed tenant is settled when its removal is settled. */
function ledgerTenant(row: TenantRow, status: { generation: number; served: string } | undefined): LedgerTenant {
  const { tenantId, version, hash, state, blocked = [] } = row;
  const admitted = state === "Removed" ? row.generation : (row.admitted?.generation ?? 0);
  const observed = status?.generation ?? 0;
  const served = status?.served ?? "none";
  return { tenantId, version, hash, state, retry: row.retry === true, blocked, admitted, observed, served };
}

/** Tenants whose routes differ between ledger and live commit: a function died before it marked them for publishing. */
async function readRouteDifferences({ fleet }: Settings): Promise<Map<string, string>> {
  const buckets = homeFirst(fleet);
  const found = new Map<string, string>();
  for (const { name } of fleet.cells) {
    const { commit } = await readCell(name);
    if (commit === undefined) continue;
    for (const bucket of everyBucket) {
      const { routes } = await readRoutes(name, bucket);
      const hash = sha256(renderBucket(routes));
      if (hash === commit.routes[bucket]) continue;
      const live = await getRoutes(buckets, commit.routes[bucket]!);
      for (const tenantId of routeDifferences(live.routes, routes)) found.set(tenantId, `routes ${hash.slice(0, 12)}`);
    }
  }
  return found;
}

async function readRooms({ fleet }: Settings): Promise<CellRoom[]> {
  return Promise.all(
    fleet.cells.map(async (cell) => {
      const { raw, tls } = (await readCell(cell.name)).counters;
      return { cell, room: { raw: roomIn(cell, "raw", raw), tls: roomIn(cell, "tls", tls) } };
    }),
  );
}
