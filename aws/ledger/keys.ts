/** Every key of the ledger, in one place. */
import { slotLimits, tenantLimits } from "../../schemas/limits.ts";
import { sha256 } from "../../schemas/signed.ts";

export const padded = (slot: number) => String(slot).padStart(slotLimits.keyDigits, "0");

/** A tenant's id may have 2,048 bytes, the limit of a key. Long ids are hashed, so that such tenants have a status. */
const tenantPk = (tenantId: string) =>
  Buffer.byteLength(tenantId) <= tenantLimits.keyIdBytesMax
    ? `TENANT#${tenantId}`
    : `TENANT#${tenantId.slice(0, 32)}~${sha256(tenantId)}`;

export const keys = {
  tenant: (tenantId: string) => ({ pk: tenantPk(tenantId), sk: "ROW" }),
  status: (tenantId: string) => ({ pk: tenantPk(tenantId), sk: "STATUS" }),
  /** The last event that was sent about the tenant. */
  announced: (tenantId: string) => ({ pk: tenantPk(tenantId), sk: "ANNOUNCED" }),
  tenantPartition: tenantPk,
  /** Who holds the name, its wildcard and what lies below it. */
  name: (name: string) => ({ pk: `NAME#${name}`, sk: "NAME" }),
  /** Tenants whose names wait for a proof, and a proof that was found. */
  unproven: "UNPROVEN",
  unprovenTenant: (tenantId: string) => ({ pk: "UNPROVEN", sk: tenantId }),
  proof: (owner: string, name: string) => ({ pk: `PROOF#${owner}`, sk: name }),
  /** What an operator decided about the name. */
  decision: (name: string, at: number) => ({ pk: `NAME#${name}`, sk: `DECISION#${new Date(at).toISOString()}` }),
  slot: (cell: string, slot: number) => ({ pk: `SLOT#${cell}#${padded(slot)}`, sk: "SLOT" }),
  /** An edge's refusal of the tenant's route. */
  refusal: (tenantId: string, edgeId: string) => ({ pk: tenantPk(tenantId), sk: `REFUSAL#${edgeId}` }),
  freeSlots: (cell: string, kind: "raw" | "tls") => `FREE#${cell}#${kind}`,
  freeSlot: (cell: string, kind: "raw" | "tls", slot: number) => ({ pk: `FREE#${cell}#${kind}`, sk: padded(slot) }),
  cell: (cell: string) => `CELL#${cell}`,
  counter: (cell: string, kind: "raw" | "tls") => ({ pk: `CELL#${cell}`, sk: `COUNTER#${kind}` }),
  commit: (cell: string) => ({ pk: `CELL#${cell}`, sk: "COMMIT" }),
  halt: (cell: string) => ({ pk: `CELL#${cell}`, sk: "HALT" }),
  /** Why publishing fails. */
  trouble: (cell: string) => ({ pk: `CELL#${cell}`, sk: "TROUBLE" }),
  /** A region whose manifest could not be written. */
  copy: (cell: string, region: string) => ({ pk: `CELL#${cell}`, sk: `COPY#${region}` }),
  /** Changes of a bucket that the gate refused. */
  withheld: (cell: string, bucket: number) => ({ pk: `CELL#${cell}`, sk: `WITHHELD#${bucket}` }),
  structure: (cell: string) => ({ pk: `CELL#${cell}`, sk: "STRUCTURE" }),
  /** Notes of the referenced hashes. */
  references: "REFERENCES",
  reference: (at: number, from: number) => ({ pk: "REFERENCES", sk: `${at}#${from}` }),
  /** The last version of a setting that was announced as invalid. */
  setting: (name: string) => ({ pk: "SETTINGS", sk: name }),
  /** Differences of one kind that the last audit found. */
  drift: (kind: string) => ({ pk: "DRIFT", sk: kind }),
  lease: (name: string) => ({ pk: `LEASE#${name}`, sk: "LEASE" }),
  routes: (cell: string, bucket: number) => `ROUTES#${cell}#${bucket}`,
  route: (cell: string, bucket: number, slot: number) => ({ pk: `ROUTES#${cell}#${bucket}`, sk: padded(slot) }),
  batch: (batchId: string) => ({ pk: `BATCH#${batchId}`, sk: "BATCH" }),
  coverage: (batchId: string, cell: string) => ({ pk: `BATCH#${batchId}`, sk: `CELL#${cell}` }),
  /** A rollout of the tenant that has not read its record yet. */
  turn: (tenantId: string) => ({ pk: `TURN#${tenantPk(tenantId)}`, sk: "TURN" }),
  dirtySet: (cell: string) => `DIRTY#${cell}`,
  dirty: (cell: string, batchId: string) => ({ pk: `DIRTY#${cell}`, sk: batchId }),
  waits: (cell: string) => `WAITS#${cell}`,
  wait: (cell: string, batchId: string) => ({ pk: `WAITS#${cell}`, sk: batchId }),
  /** Summaries of a cell's edges, in one of several items. Its attributes are named by the edges' ids. */
  edges: (cell: string, item: number) => ({ pk: `EDGES#${cell}#${item}`, sk: "EDGES" }),
  edge: (edgeId: string) => ({ pk: `EDGE#${edgeId}`, sk: "EDGE" }),
  /** Reports that counted for no edge. */
  ignoredReports: "IGNORED",
  ignored: (reason: string) => ({ pk: "IGNORED", sk: reason }),
  /** Failover's state, pins, and what EC2 says of instances. */
  failover: (cell: string) => `FAILOVER#${cell}`,
  failoverState: (cell: string) => ({ pk: `FAILOVER#${cell}`, sk: "STATE" }),
  /** The execution that looks again while something is not as it should be. */
  watch: (cell: string) => ({ pk: `WATCH#${cell}`, sk: "WATCH" }),
  pin: (cell: string, kind: string, target: string) => ({ pk: `FAILOVER#${cell}`, sk: `PIN#${kind}#${target}` }),
  instance: (cell: string, edgeId: string) => ({ pk: `FAILOVER#${cell}`, sk: `INSTANCE#${edgeId}` }),
  failoverRecord: (cell: string, at: number) => ({ pk: `FAILOVERS#${cell}`, sk: new Date(at).toISOString() }),
  signals: (cell: string) => `SIGNALS#${cell}`,
  signal: (cell: string, subject: string) => ({ pk: `SIGNALS#${cell}`, sk: subject }),
};
