/** The audit's second part: starts rollouts for tenants whose record, ledger, snapshot and status don't agree. */
import { readTenantRows } from "../aws/ledger/admission.ts";
import { forgetTenant, type LedgerKey, readNote, restoreRoutes, saveNote, scanLedger } from "../aws/ledger/audit.ts";
import { readCell } from "../aws/ledger/cells.ts";
import { readRoutes } from "../aws/ledger/commits.ts";
import { readSummaries } from "../aws/ledger/edges.ts";
import { readPoints } from "../aws/ledger/names.ts";
import { readStatuses, removeStatus } from "../aws/ledger/status.ts";
import { logger } from "../aws/logger.ts";
import { inParallel } from "../aws/parallel.ts";
import { loadSettings, type Settings } from "../aws/settings.ts";
import { readRecords, scanTenantIds } from "../aws/tenants.ts";
import { homeFirst } from "../control/publishing/regions.ts";
import { readFrom, readRoutesBelow } from "../control/publishing/trees.ts";
import { startRollouts } from "../control/rollout/start.ts";
import { absent, admittedRoutes, type TenantRow } from "../core/admission/tenant-row.ts";
import { validateRecord } from "../core/admission/validate.ts";
import { weigh } from "../core/audit/findings.ts";
import {
  type AuditedTenant,
  admissible,
  differenceOf,
  isForgettable,
  isOfLostRow,
  type PendingTenant,
} from "../core/audit/tenants.ts";
import { canonicalJson, plain } from "../core/canonical.ts";
import { pointOf } from "../core/names/claims.ts";
import { renderBucket } from "../core/publishing/render.ts";
import { everyBucket } from "../core/routes/buckets.ts";
import { routeDifferences } from "../core/routes/differences.ts";
import { slottedIn } from "../core/slots/numbering.ts";
import { type CellRoom, roomIn } from "../core/slots/placement.ts";
import { auditLimits } from "../schemas/limits.ts";
import { sha256 } from "../schemas/signed.ts";
import { parseTenantRecord } from "../schemas/tenant.ts";
import { AuditInput } from "../schemas/workflows.ts";
import { handler as shell } from "./shell/handler.ts";

const scope = "tenants";
/** How a tenant differs that has a record and no row. */
const unknown = "unknown";

/** Where the next audit goes on, and tenants that wait for room. */
interface Progress {
  ledger?: LedgerKey | undefined;
  records?: object | undefined;
  pending: string[];
}

/** What an audit saw: how each tenant differs (undefined: not), and who waits for room. */
interface Seen {
  differences: Map<string, string | undefined>;
  pending: PendingTenant[];
  /** Tenants whose status is of a row that was lost, and its generation. */
  lost: Map<string, number>;
  forgotten: number;
}

/**
 * Looks again at what earlier audits found, and then at the next part of the tenants: its cost does not grow with all of
 * them. Parts are read with scans, which may miss what was just written; what is repaired was read again consistently.
 */
export const handler = shell(AuditInput, async (_, { awsRequestId, getRemainingTimeInMillis }) => {
  const hasTime = () => getRemainingTimeInMillis() > auditLimits.reserveMs;
  const settings = await loadSettings();
  if (settings.frozen) return { found: 0, mended: 0 };
  const now = Date.now();
  const { findings, progress = { pending: [] } } = await readNote<Progress>(scope);
  const rules = await readRules(settings);
  const seen: Seen = { differences: new Map(), pending: [], lost: new Map(), forgotten: 0 };
  await examineAgain([...new Set([...findings.map(({ key }) => key), ...progress.pending])], rules, seen);
  const ledger = await walkLedger(progress.ledger, rules, seen, hasTime);
  const records = await walkRecords(progress.records, seen, hasTime);
  const routed = await readRouteDifferences(settings);
  for (const [tenantId, how] of routed)
    if (seen.differences.get(tenantId) === undefined) seen.differences.set(tenantId, how);
  const { due, kept } = weigh(findings, seen.differences, now, auditLimits.apartMs);
  await inParallel(due, async (tenantId) => {
    const generation = seen.lost.get(tenantId);
    if (generation !== undefined) await removeStatus(tenantId, generation);
  });
  const dueRoutes = due.filter((tenantId) => routed.has(tenantId));
  await restore(dueRoutes, settings);
  const admitted = admissible(seen.pending, await readRooms(settings)); // one audit is enough: they wait for room
  await startRollouts(`audit-${awsRequestId}`, new Map([...due, ...admitted].map((id) => [id, ""])), now);
  // Saved after the rollouts are started: if the audit dies in between, the next one finds the same differences.
  const pending = seen.pending.map(({ tenantId }) => tenantId).slice(0, auditLimits.pendingTriedMax);
  await saveNote<Progress>(scope, { findings: kept, progress: { ledger, records, pending } });
  logger.info("drift checked", {
    found: kept.length,
    due: due.length,
    pending: admitted.length,
    forgotten: seen.forgotten,
    complete: ledger === undefined && records === undefined,
  });
  return { found: kept.length, mended: due.length + admitted.length };
});

type Rules = Settings["fleet"] & { edges: Set<string> };

async function readRules({ fleet }: Settings): Promise<Rules> {
  const edges = await inParallel(fleet.cells, ({ name }) => readSummaries(name));
  return { ...fleet, edges: new Set(edges.flat().map(({ address }) => address)) };
}

/** Examines what earlier audits found. A tenant may have a record and still no row, or neither by now. */
async function examineAgain(tenantIds: string[], rules: Rules, seen: Seen): Promise<void> {
  await examine(await readTenantRows(tenantIds), rules, seen);
  const rowless = tenantIds.filter((tenantId) => !seen.differences.has(tenantId));
  const records = await readRecords(rowless);
  for (const tenantId of rowless) seen.differences.set(tenantId, records.has(tenantId) ? unknown : undefined);
}

/** Compares these tenants with their records and statuses, and forgets removed ones that nothing needs. */
async function examine(rows: Map<string, TenantRow>, rules: Rules, seen: Seen): Promise<void> {
  const tenantIds = [...rows.keys()];
  const blocked = [...rows.values()].flatMap((row) => row.blocked ?? []);
  const [inputs, statuses, points] = await Promise.all([
    readRecords(tenantIds),
    readStatuses(tenantIds),
    readPoints(blocked.map(pointOf)),
  ]);
  for (const [tenantId, row] of rows) {
    const input = inputs.get(tenantId);
    const record = input === undefined ? undefined : validateRecord(input, rules, rules.edges);
    const observed = statuses.get(tenantId);
    const tenant: AuditedTenant = {
      row,
      record,
      hash: input === undefined ? absent : sha256(canonicalJson(plain(input))),
      status: observed && { generation: observed.observedGeneration, served: observed.served },
    };
    if (isOfLostRow(tenant)) seen.lost.set(tenantId, observed!.observedGeneration);
    if (isForgettable(tenant, Date.now())) {
      if (await forgetTenant(row)) seen.forgotten++;
      continue;
    }
    seen.differences.set(tenantId, differenceOf(tenant, { rules, points }));
    const awaitsProof = rules.requireProof && row.unproven !== undefined; // `prove-names` starts its rollout
    if (row.state === "Pending" && !awaitsProof) seen.pending.push({ ...row, protocols: protocolsIn(input) });
  }
}

/** Of a record that was well-formed when it was put off. It is not read again here: admission does that. */
function protocolsIn(input: unknown): string[] {
  const parsed = parseTenantRecord(input);
  return slottedIn(parsed.ok ? parsed.record : undefined);
}

/** Examines tenants of the ledger behind `from`. Returns where to go on; undefined at the end. */
async function walkLedger(from: LedgerKey | undefined, rules: Rules, seen: Seen, hasTime: () => boolean) {
  let [tenants, items] = [0, 0];
  for await (const page of scanLedger(from)) {
    const rows = page.items.flatMap(({ sk, row }) => (sk === "ROW" ? [row as TenantRow] : []));
    const fresh = rows.filter(({ tenantId }) => !seen.differences.has(tenantId));
    await examine(new Map(fresh.map((row) => [row.tenantId, row])), rules, seen);
    tenants += rows.length;
    items += page.items.length;
    const isEnough = tenants >= auditLimits.tenantsPerRunMax || items >= auditLimits.itemsPerRunMax;
    if (page.next !== undefined && (isEnough || !hasTime())) return page.next;
  }
  return undefined;
}

/** Finds records behind `from` that have no row: their stream batch was lost. Returns where to go on. */
async function walkRecords(from: object | undefined, seen: Seen, hasTime: () => boolean) {
  let tenants = 0;
  for await (const { tenantIds, next } of scanTenantIds(from)) {
    const unseen = tenantIds.filter((tenantId) => !seen.differences.has(tenantId));
    const rows = await readTenantRows(unseen);
    for (const tenantId of unseen) if (!rows.has(tenantId)) seen.differences.set(tenantId, unknown);
    tenants += tenantIds.length;
    if (next !== undefined && (tenants >= auditLimits.tenantsPerRunMax || !hasTime())) return next;
  }
  return undefined;
}

/**
 * Tenants whose routes differ between ledger and live commit: what the publisher had to do was lost, or another program
 * wrote into the ledger.
 */
async function readRouteDifferences({ fleet }: Settings): Promise<Map<string, string>> {
  const buckets = homeFirst(fleet);
  const found = new Map<string, string>();
  for (const { name } of fleet.cells) {
    const { commit } = await readCell(name);
    if (commit === undefined) continue;
    for (const bucket of everyBucket) {
      const { routes } = await readRoutes(name, bucket);
      const { hash } = renderBucket(routes);
      if (hash === commit.routes[bucket]) continue;
      const live = await readRoutesBelow(readFrom(buckets), commit.routes[bucket]!);
      for (const tenantId of routeDifferences(live, routes)) found.set(tenantId, `routes ${hash.slice(0, 12)}`);
    }
  }
  return found;
}

/** The ledger's routes of these tenants follow from their rows again. The rollout that is started next publishes them. */
async function restore(tenantIds: string[], { fleet }: Settings): Promise<void> {
  const rows = await readTenantRows(tenantIds);
  await inParallel([...rows.values()], async (row) => {
    const cell = fleet.cells.find(({ name }) => name === row.cell);
    if (cell !== undefined) await restoreRoutes(row, cell.name, admittedRoutes(row, cell));
  });
}

async function readRooms({ fleet }: Settings): Promise<CellRoom[]> {
  return Promise.all(
    fleet.cells.map(async (cell) => {
      const { raw, tls } = (await readCell(cell.name)).counters;
      return { cell, room: { raw: roomIn(cell, "raw", raw), tls: roomIn(cell, "tls", tls) } };
    }),
  );
}
