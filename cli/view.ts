/** A tenant's state from the tables, for people and programs. */
import type { TenantRow } from "../core/admission/tenant-row.ts";
import { derivedOf } from "../core/names/derived.ts";
import { type Condition, conditionsOf } from "../core/rollout/conditions.ts";
import { type TraceStep, traceOf } from "../core/rollout/trace.ts";
import { isRaw, slottedIn } from "../core/slots/numbering.ts";
import type { TenantRecord } from "../schemas/tenant.ts";

/** Loaded only when needed: aws/ reads its environment when it is loaded, and `connect` must set it before. */
const aws = async () => ({
  ...(await import("../aws/settings.ts")),
  ...(await import("../aws/tenants.ts")),
  ...(await import("../aws/ledger/batches.ts")),
  ...(await import("../aws/ledger/status.ts")),
});

export interface TenantView {
  tenantId: string;
  state: string;
  reasons: string[];
  /** Canonical hash of the last evaluated record. */
  hash: string | undefined;
  /** The record's generation, and the one that is settled. */
  generation: number;
  observedGeneration: number;
  conditions: Condition[];
  served: string;
  /** Regions whose edges all serve it, and regions that have edges to wait for. */
  regions: string[];
  regionsCounted: string[];
  missing: string[];
  cell: string | undefined;
  /** The stable name to point DNS at. */
  endpoint: string | undefined;
  hostnames: string[];
  wildcards: string[];
  /** Names that clients make of the hostnames (a setting of the fleet). They lead where the hostname leads. */
  derivedNames: string[];
  /** Protocol → port on the endpoint's addresses. */
  ports: Record<string, number>;
  /** Milliseconds from the start of the rollout until it settled, and when it settled. */
  rolloutMs: number | undefined;
  settledAt: number | undefined;
}

/** A tenant's record, ledger row and status as one value; undefined when nothing is known of it. */
export async function viewTenant(tenantId: string): Promise<TenantView | undefined> {
  const { loadSettings, readRecord, readTenant } = await aws();
  const [record, { row, status, refusals }, { fleet }] = await Promise.all([
    readRecord(tenantId),
    readTenant(tenantId),
    loadSettings(),
  ]);
  if (record === undefined && row === undefined) return undefined;
  const cell = fleet.cells.find(({ name }) => name === row?.cell); // a cell may have been taken out of the fleet
  const served = row?.admitted?.record;
  return {
    tenantId,
    state: row?.state ?? "New",
    reasons: row?.reasons ?? [],
    hash: row?.hash,
    generation: row?.generation ?? 0,
    observedGeneration: status?.observedGeneration ?? 0,
    conditions: row === undefined ? [] : conditionsOf({ row, status, refusals }),
    served: servedWord(row, status?.observedGeneration, status?.served),
    regions: status?.regions ?? [],
    regionsCounted: status?.regionsCounted ?? [],
    missing: status?.missing ?? [],
    cell: row?.cell,
    endpoint: cell === undefined ? undefined : `${cell.name}.${fleet.endpointDomain}`,
    hostnames: served?.hostnames ?? [],
    wildcards: served?.wildcards ?? [],
    derivedNames: (served?.hostnames ?? []).flatMap((name) => derivedOf(name, fleet.derivedNames)),
    ports: cell === undefined || served === undefined ? {} : portsOf(served, row!.slots, cell),
    rolloutMs: status === undefined ? undefined : status.settledAt - status.startedAt,
    settledAt: status?.settledAt,
  };
}

/** How the tenant is served now. A rejected change leaves the previous state in place. */
function servedWord(row: TenantRow | undefined, observed: number | undefined, word: string | undefined): string {
  if (row === undefined || row.admitted === undefined) return "no";
  if (observed !== undefined && observed >= row.admitted.generation)
    return row.state === "Suspended" ? "suspended" : (word ?? "no");
  return "rolling out";
}

/** The public port of each protocol: those that are told by server name or ALPN share one. */
function portsOf(record: TenantRecord, slots: Record<string, number>, cell: { tlsPort: number; portBase: number }) {
  const raw = slottedIn(record).filter(isRaw);
  const portOf = (protocol: string) => (raw.includes(protocol) ? cell.portBase + slots[protocol]! : cell.tlsPort);
  return Object.fromEntries(
    Object.keys(record.protocols)
      .sort()
      .map((protocol) => [protocol, portOf(protocol)]),
  );
}

/** The steps of the tenant's latest change; undefined when there was none, or when its batch has expired (a day). */
export async function traceTenant(tenantId: string): Promise<TraceStep[] | undefined> {
  const { readTenant, findBatch, readCoverage } = await aws();
  const { row, status } = await readTenant(tenantId);
  const batchId = row?.batchId ?? status?.batchId;
  const batch = batchId === undefined ? undefined : await findBatch(batchId);
  if (row === undefined || batchId === undefined || batch === undefined) return undefined;
  const isRefused = row.state === "Rejected" || row.state === "Pending"; // then its edges serve an earlier change
  const covered = isRefused ? undefined : (await readCoverage(row.cell, [batchId])).get(batchId);
  return traceOf({
    sequence: batch.sequences[batch.tenantIds.indexOf(tenantId)] || undefined,
    startedAt: batch.startedAt,
    admittedAt: batch.admittedAt,
    decision: row.state.toLowerCase(),
    committedAt: covered?.committedAt,
    generation: covered?.generation,
    acks: covered?.acks ?? [],
    settledAt: !isRefused && status?.batchId === batchId ? status.settledAt : undefined,
  });
}
