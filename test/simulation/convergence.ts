/** Describes each difference from the desired state. Empty once there is none. */
import { pointIn } from "../../aws/ledger/points.ts";
import { admittedRoutes, type TenantRow } from "../../core/admission/tenant-row.ts";
import type { Validated } from "../../core/admission/validate.ts";
import { canonicalJson } from "../../core/canonical.ts";
import { fullDial, fullWeight } from "../../core/failover/model.ts";
import { claimsOf, ownerOf, pointOf } from "../../core/names/claims.ts";
import { contestOf } from "../../core/names/points.ts";
import type { Commit } from "../../core/publishing/commit.ts";
import type { StructureState } from "../../core/publishing/structure.ts";
import { kindOf, kindOfSlot, slotAt, slotsIn, slottedIn } from "../../core/slots/numbering.ts";
import type { Group } from "../../local/services/accelerator/model.ts";
import type { Cell, Fleet } from "../../schemas/fleet.ts";
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
  /** The accelerator's endpoint groups by listener. */
  accelerator: { groupsOf(listenerArn: string): Group[] };
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
      const owner = ownerOf(validated.record);
      const taken = claimsOf(validated.record, simulation.fleet).some((claim) => {
        const item = simulation.tables.item(tables.ledger, `NAME#${pointOf(claim)}`, "NAME");
        const contest = contestOf(claim, { tenantId, owner }, pointIn(item ?? {}));
        return contest !== undefined && contest.hold?.releasedAt === undefined;
      });
      if (!taken) faults.push(`${tenantId} is rejected though its names are free: ${row.reasons.join(", ")}`);
    } else if (row.state === "Pending") {
      const missing = slottedIn(validated.record).filter((protocol) => !Object.hasOwn(row.slots, protocol));
      if (hasRoom(simulation, items, row, missing)) faults.push(`${tenantId} is pending though there is room`);
    } else faults.push(`${tenantId} is ${row.state}`);
  }
  for (const { tenantId, state } of rows.values())
    if (!records.has(tenantId) && state !== "Removed") faults.push(`${tenantId} is ${state} and has no record`);
  for (const cell of simulation.fleet.cells) {
    const wanted = [...rows.values()]
      .filter((row) => row.cell === cell.name)
      .flatMap((row) => admittedRoutes(row, cell));
    const stored = items.filter(
      ({ pk, route }) => String(pk).startsWith(`ROUTES#${cell.name}#`) && route !== undefined,
    );
    if (textOf(wanted) !== textOf(stored.map(({ route }) => route as Route)))
      faults.push(`the routes of ${cell.name} in the ledger do not follow from its tenants`);
    for (const { edgeId, routes } of simulation.edges.filter((edge) => edge.cell === cell.name))
      if (textOf(wanted) !== textOf(routes)) faults.push(`${edgeId} does not serve what the ledger has`);
  }
  const ids = new Set(simulation.edges.map(({ edgeId }) => edgeId));
  for (const edge of items.filter(({ sk }) => sk === "EDGES").flatMap(summariesIn))
    if (ids.has(edge.edgeId) && !simulation.readiness.knows(edge))
      faults.push(`failover does not know whether ${edge.edgeId} is ready`);
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
  const edgeFaults = simulation.fleet.cells.flatMap((cell) => [
    ...acceleratorFaults(simulation, cell),
    ...structureFaults(simulation, items, cell.name),
  ]);
  return [...faults, ...edgeFaults, ...slotFaults(simulation, items)];
}

/** The accelerator has every edge with its full weight, and nothing else. */
function acceleratorFaults({ edges, accelerator }: Simulated, cell: Cell): string[] {
  const groups = accelerator.groupsOf(cell.listenerArn);
  const dials = groups.filter(({ dial }) => dial !== fullDial).map(({ region, dial }) => `${region} has dial ${dial}`);
  const weights = new Map(groups.flatMap(({ endpoints }) => [...endpoints].map(([id, { weight }]) => [id, weight])));
  const members = edges.filter((edge) => edge.cell === cell.name);
  const wrong = members.filter(({ edgeId }) => weights.get(edgeId) !== fullWeight);
  return [
    ...dials,
    ...wrong.map(({ edgeId }) => `${edgeId} has weight ${weights.get(edgeId) ?? "nothing"} in the accelerator`),
  ];
}

/** Law 12: what is known of instances that are terminated. */
export function outlived({ fleet, tables: stored, edges, accelerator }: Simulated): string[] {
  const ids = new Set(edges.map(({ edgeId }) => edgeId));
  const known = stored.all(tables.ledger).flatMap((item) => (item.sk === "EDGES" ? summariesIn(item) : []));
  const endpoints = fleet.cells
    .flatMap(({ listenerArn }) => accelerator.groupsOf(listenerArn))
    .flatMap((group) => [...group.endpoints.keys()]);
  return [
    ...known.filter(({ edgeId }) => !ids.has(edgeId)).map(({ edgeId }) => `the ledger has ${edgeId}`),
    ...endpoints.filter((id) => !ids.has(id)).map((id) => `the accelerator has ${id}`),
  ].map((what) => `${what}, whose instance is terminated`);
}

/** Every edge has the structure that the cell's manifest names, and no rollout of another one is under way. */
function structureFaults({ edges }: Simulated, items: Record<string, unknown>[], cell: string): string[] {
  const of = (sk: string) => items.find((item) => item.pk === `CELL#${cell}` && item.sk === sk);
  const commit = of("COMMIT")?.commit as Commit | undefined;
  if (commit === undefined) return [`${cell} has no commit`];
  const { structure } = commit;
  const stage = (of("STRUCTURE")?.state as StructureState | undefined)?.stage ?? "done";
  const others = edges.filter((edge) => edge.cell === cell && edge.structure !== structure.default);
  return [
    ...(stage === "done" || stage === "returned" ? [] : [`the structure of ${cell} is in stage ${stage}`]),
    ...(Object.keys(structure.overrides).length === 0 ? [] : [`edges of ${cell} have a structure of their own`]),
    ...others.map(({ edgeId }) => `${edgeId} has another structure`),
  ];
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
