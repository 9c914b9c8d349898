/** Describes each difference from the desired state. Empty once there is none. */
import { claimsOf } from "../../core/admission/claims.ts";
import type { TenantRow } from "../../core/admission/tenant-row.ts";
import type { Validated } from "../../core/admission/validate.ts";
import { canonicalJson } from "../../core/canonical.ts";
import { routesOf } from "../../core/routes/routes.ts";
import { kindOf, kindOfSlot, slotAt, slotsIn } from "../../core/slots/numbering.ts";
import type { Fleet } from "../../schemas/fleet.ts";
import type { Route } from "../../schemas/snapshot.ts";
import type { SimulatedEdge } from "./edges.ts";
import { type Readiness, summariesIn } from "./laws.ts";
import { tables } from "./services.ts";
import type { Tables } from "./table.ts";

/** The parts of a simulated fleet that are compared with the desired state. */
export interface Simulated {
  fleet: Fleet;
  tables: Tables;
  edges: SimulatedEdge[];
  /** What failover was told of the edges. */
  readiness: Readiness;
  /** Each tenant's record, and what admission makes of it. */
  records(): Map<string, { validated: Validated }>;
}

export function converged(simulation: Simulated): string[] {
  const items = simulation.tables.all(tables.ledger);
  const rows = new Map(
    items.filter(({ sk }) => sk === "ROW").map(({ row }) => [(row as TenantRow).tenantId, row as TenantRow]),
  );
  const faults: string[] = [];
  const records = simulation.records();
  for (const [tenantId, { validated }] of records) {
    const row = rows.get(tenantId);
    if (row === undefined) faults.push(`${tenantId} has no row`);
    else if (!validated.ok) {
      if (row.state !== "Rejected") faults.push(`${tenantId} is ${row.state} though its record is bad`);
    } else if (row.state === "Admitted" || row.state === "Suspended") {
      if (canonicalJson(row.admitted?.record) !== canonicalJson(validated.record))
        faults.push(`${tenantId} is admitted with another record`);
    } else if (row.state === "Rejected") {
      const owners = claimsOf(validated.record, simulation.fleet.platformDomains).map((claim) =>
        simulation.tables.item(tables.ledger, `CLAIM#${claim}`, "CLAIM"),
      );
      const taken = owners.some(
        (owner) => owner !== undefined && owner.tenantId !== tenantId && owner.releasedAt === undefined,
      );
      if (!taken) faults.push(`${tenantId} is rejected though its names are free: ${row.reasons.join(", ")}`);
    } else if (row.state === "Pending") {
      const missing = Object.keys(validated.record.protocols).filter((protocol) => !Object.hasOwn(row.slots, protocol));
      if (hasRoom(simulation, items, row, missing)) faults.push(`${tenantId} is pending though there is room`);
    } else faults.push(`${tenantId} is ${row.state}`);
  }
  for (const { tenantId, state } of rows.values())
    if (!records.has(tenantId) && state !== "Removed") faults.push(`${tenantId} is ${state} and has no record`);
  for (const edge of simulation.edges) {
    const wanted = [...rows.values()]
      .filter(({ cell, admitted }) => cell === edge.cell && admitted !== undefined)
      .flatMap((row) => {
        const cell = simulation.fleet.cells.find(({ name }) => name === row.cell)!;
        return routesOf(row.admitted!.record, row.admitted!.generation, row.slots, cell);
      });
    if (textOf(wanted) !== textOf(edge.routes)) faults.push(`${edge.edgeId} does not serve what the ledger has`);
  }
  for (const edge of items.filter(({ sk }) => sk === "EDGES").flatMap(summariesIn))
    if (!simulation.readiness.knows(edge)) faults.push(`failover does not know whether ${edge.edgeId} is ready`);
  for (const row of rows.values()) {
    const status = items.find(({ pk, sk }) => pk === `TENANT#${row.tenantId}` && sk === "STATUS")?.observed as
      | { observedGeneration: number; served: string }
      | undefined;
    const generation = row.state === "Removed" ? row.generation : (row.admitted?.generation ?? 0);
    if (generation === 0) continue;
    if (status?.observedGeneration !== generation) faults.push(`${row.tenantId} is not settled at ${generation}`);
    else if (status.served !== "all") faults.push(`${row.tenantId} is served ${status.served}`);
  }
  if (items.some(({ pk }) => String(pk).startsWith("DIRTY#"))) faults.push("work is left for the publisher");
  if (items.some(({ sk }) => String(sk).startsWith("COPY#"))) faults.push("a region is marked as behind");
  if (items.some(({ sk }) => sk === "HALT")) faults.push("a cell is halted");
  return [...faults, ...slotFaults(simulation, items)];
}

const textOf = (routes: Route[]) => canonicalJson(routes.toSorted((a, b) => a.slot - b.slot));

const idsOf = (items: Record<string, unknown>[], prefix: string) =>
  items
    .filter(({ pk }) => String(pk).startsWith(prefix))
    .map(({ pk, sk }) => Number(prefix.startsWith("SLOT") ? String(pk).split("#")[2] : sk));

/** Every slot below the counter must have an owner, be kept for a tenant, or be free. */
function slotFaults({ fleet }: Simulated, items: Record<string, unknown>[]): string[] {
  return fleet.cells.flatMap((cell) =>
    (["raw", "tls"] as const).flatMap((kind) => {
      const counter = items.find(({ pk, sk }) => pk === `CELL#${cell.name}` && sk === `COUNTER#${kind}`);
      const taken = Number(counter?.taken ?? 0);
      const spare = items.flatMap(({ sk, row }) =>
        sk === "ROW" && (row as TenantRow).cell === cell.name ? ((row as TenantRow).spare ?? []) : [],
      );
      const known = new Set([...idsOf(items, `SLOT#${cell.name}#`), ...idsOf(items, `FREE#${cell.name}#`), ...spare]);
      const numbers = Array.from({ length: taken }, (_, number) => slotAt(cell, kind, number)!);
      const lost = numbers.filter((slot) => !known.has(slot));
      return lost.length > 0 ? [`slots ${lost.join(", ")} of ${cell.name} are lost`] : [];
    }),
  );
}

/** Whether a pending tenant's missing slots fit in its cell, or in any cell if it has none yet. */
function hasRoom({ fleet }: Simulated, items: Record<string, unknown>[], row: TenantRow, missing: string[]): boolean {
  const settled = row.admitted !== undefined || Object.keys(row.slots).length > 0;
  const cells = fleet.cells.filter(({ name }) => !settled || name === row.cell);
  return cells.some((cell) =>
    (["raw", "tls"] as const).every((kind) => {
      const wanted = missing.filter((protocol) => kindOf(protocol) === kind).length;
      const counter = items.find(({ pk, sk }) => pk === `CELL#${cell.name}` && sk === `COUNTER#${kind}`);
      const free = idsOf(items, `FREE#${cell.name}#${kind}`).length;
      const kept = row.cell === cell.name ? (row.spare ?? []) : [];
      const spare = kept.filter((slot) => kindOfSlot(slot) === kind).length;
      return wanted <= slotsIn(cell, kind) - Number(counter?.taken ?? 0) + free + spare;
    }),
  );
}
