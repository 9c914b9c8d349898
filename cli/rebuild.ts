/** `landfall rebuild`: rebuilds a ledger from the snapshots when it is behind them. */
import { setTimeout as sleep } from "node:timers/promises";
import pc from "picocolors";
import { inParallel } from "../aws/parallel.ts";
import type { TenantRow } from "../core/admission/tenant-row.ts";
import { claimsServed, planRebuild, type Rebuild, releasedSince } from "../core/publishing/rebuild.ts";
import { renderBucket } from "../core/publishing/render.ts";
import type { Cell, Fleet } from "../schemas/fleet.ts";
import { type Manifest, type Route, RouteObject } from "../schemas/snapshot.ts";
import { UsageError } from "./connect.ts";

/** How far a function's clock may be from that of a bucket. */
const clockMs = 60_000;

/** An admission that began before the halt may still write: the rebuild is repeated once after this time. */
const lateMs = 3000;

export async function rebuild(apply: boolean): Promise<void> {
  const { loadSettings } = await import("../aws/settings.ts");
  const { halt, resume } = await import("../aws/ledger/cells.ts");
  const { fleet } = await loadSettings();
  const found: Snapshot[] = [];
  for (const cell of fleet.cells) found.push(...(await snapshotOf(cell, fleet)));
  // Names are the fleet's: if one cell is behind, a tenant of another cell may have got a name that the first one serves.
  const behind = found.some(({ isBehind }) => isBehind) ? found : [];
  const since = Math.min(...behind.map(({ committedAt }) => committedAt)) - clockMs;
  const recent = behind.length === 0 ? [] : await publishedSince(since, fleet);
  if (!apply) {
    const { rows } = await readLedger();
    for (const cell of behind) say(planOf(cell, behind, recent, fleet, rows), cell);
    return console.log("nothing was written: add --apply");
  }
  for (const { cell } of behind)
    await halt(
      cell.name,
      "a rebuild is in progress or was interrupted: run `landfall rebuild --apply` again",
      Date.now(),
    );
  for (let pass = 0; behind.length > 0 && pass < 2; pass++) {
    if (pass > 0) await sleep(lateMs);
    for (const cell of behind) await write(cell, behind, recent, fleet);
  }
  for (const { cell, manifest } of behind) {
    await resume(cell.name);
    console.log(pc.green(`cell ${cell.name} continues from generation ${manifest.generation}`));
  }
  if (behind.length > 0)
    console.log("the audit now checks every record again: 1,500 tenants in two rounds (ten minutes)");
}

/** The content of a cell's newest manifest. */
interface Snapshot {
  cell: Cell;
  /** The ledger is behind it, or the cell is halted. */
  isBehind: boolean;
  /** When the ledger's commit was made. */
  committedAt: number;
  manifest: Manifest;
  /** Bytes of each bucket, and every route. */
  sizes: number[];
  routes: Route[];
  taken: { raw: number; tls: number };
}

async function snapshotOf(cell: Cell, fleet: Fleet): Promise<Snapshot[]> {
  const { readCell } = await import("../aws/ledger/cells.ts");
  const { getText } = await import("../aws/snapshots.ts");
  const { readRoutesBelow } = await import("../control/publishing/trees.ts");
  const newest = await newestManifest(cell, fleet);
  const { commit, counters, halt } = await readCell(cell.name);
  const at = `the ledger is at generation ${commit?.generation ?? 0}, the snapshots at ${newest?.manifest.generation ?? 0}`;
  console.log(`cell ${cell.name}: ${at}`);
  if (newest === undefined) return [];
  const { manifest, bucket } = newest;
  const isBehind =
    halt !== undefined ||
    commit === undefined ||
    commit.incarnation !== manifest.incarnation ||
    commit.generation < manifest.generation;
  if (!isBehind) console.log("  the ledger is not behind");
  const read = async (hash: string) => {
    const text = await getText(bucket, hash);
    if (text === undefined) throw new UsageError(`${bucket.name} lacks ${hash}, which its manifest names`);
    return RouteObject.parse(JSON.parse(text));
  };
  const routes = await inParallel(manifest.routes, (hash) => readRoutesBelow(read, hash));
  const sizes = routes.map((list) => renderBucket(list).bytes);
  const taken = { raw: counters.raw.taken, tls: counters.tls.taken };
  return [{ cell, isBehind, committedAt: commit?.committedAt ?? 0, manifest, sizes, routes: routes.flat(), taken }];
}

/** The routes of objects that were put since then. */
async function publishedSince(since: number, fleet: Fleet): Promise<Route[]> {
  const { getText, listObjects } = await import("../aws/snapshots.ts");
  const home = { region: fleet.homeRegion, name: fleet.buckets[fleet.homeRegion]! };
  const recent = (await listObjects(home)).filter(({ putAt }) => putAt >= since);
  const texts = await inParallel(recent, ({ hash }) => getText(home, hash));
  const leaves = texts.filter((text) => text?.startsWith('{"routes"')); // the others are branches and structures
  return leaves.flatMap((text) => (RouteObject.parse(JSON.parse(text!)) as { routes: Route[] }).routes);
}

async function readLedger() {
  const { scanLedger } = await import("../aws/ledger/audit.ts");
  const rows: TenantRow[] = [];
  const claims: { claim: string; tenantId: string; cell: string }[] = [];
  for await (const { items } of scanLedger(undefined, { consistent: true }))
    for (const { pk, sk, row, tenantId, cell } of items)
      if (sk === "ROW") rows.push(row as TenantRow);
      else if (sk === "CLAIM")
        claims.push({ claim: pk.slice("CLAIM#".length), tenantId: String(tenantId), cell: String(cell) });
  return { rows, claims };
}

/** A tenant belongs to the cell that serves it, even if its row names another: it may have moved since. */
function planOf(
  { cell, routes, taken }: Snapshot,
  behind: Snapshot[],
  recent: Route[],
  fleet: Fleet,
  rows: TenantRow[],
): Rebuild {
  const here = new Set(routes.map(({ tenantId }) => tenantId));
  const anywhere = new Set(behind.flatMap((found) => found.routes.map(({ tenantId }) => tenantId)));
  return planRebuild({
    cell,
    routes,
    rows: rows.filter((row) => here.has(row.tenantId) || (row.cell === cell.name && !anywhere.has(row.tenantId))),
    taken,
    recent,
    claimedElsewhere: new Set(
      behind
        .filter((other) => other.cell !== cell)
        .flatMap((other) => claimsServed(other.routes, fleet.platformDomains)),
    ),
    platformDomains: fleet.platformDomains,
    now: Date.now(),
  });
}

const say = ({ rows, claims, slots, unknown }: Rebuild, { cell, routes }: Snapshot): void =>
  console.log(
    `  ${cell.name}: ${routes.length} routes: ${rows.length} tenants, ${claims.length} names and zones, ${slots.length} slots, ${unknown.length} slots without a known tenant`,
  );

async function write(found: Snapshot, behind: Snapshot[], recent: Route[], fleet: Fleet): Promise<void> {
  const { writeRebuild } = await import("../aws/ledger/rebuild.ts");
  const { cell, manifest, sizes, routes } = found;
  const { rows, claims } = await readLedger();
  const plan = planOf(found, behind, recent, fleet, rows);
  say(plan, found);
  const planned = new Set(plan.claims.map(({ claim }) => claim));
  const served = new Set(behind.flatMap((other) => claimsServed(other.routes, fleet.platformDomains)));
  const isClaimed = (claim: string) => planned.has(claim) || served.has(claim);
  // A tenant without a row belonged to any cell: its name's cool-off is longer than an edge may lag.
  const cellOf = (tenantId: string) => rows.find((row) => row.tenantId === tenantId)?.cell ?? behind[0]!.cell.name;
  const lately = releasedSince(recent, [...rows, ...plan.rows], isClaimed, fleet.platformDomains);
  const released = new Map(lately.map(({ claim, tenantId }) => [claim, tenantId]));
  const others = [
    ...claims.filter(({ claim, cell: of }) => of === cell.name && !planned.has(claim) && !released.has(claim)),
    ...lately.filter(({ tenantId }) => cellOf(tenantId) === cell.name),
  ];
  const { generation, incarnation, routes: hashes, structure } = manifest;
  const now = Date.now();
  const commit = { generation, incarnation, routes: hashes, structure, sizes, committedAt: now };
  await writeRebuild(cell, plan, routes, commit, others, now);
}

/** The newest signed manifest of any region. */
async function newestManifest(cell: Cell, fleet: Fleet) {
  const { getManifest } = await import("../aws/snapshots.ts");
  const { readPublicKeys } = await import("../aws/settings.ts");
  const keys = await readPublicKeys();
  const found: { manifest: Manifest; bucket: { region: string; name: string } }[] = [];
  for (const [region, name] of Object.entries(fleet.buckets).sort()) {
    const stored = await getManifest({ region, name }, cell.name, keys);
    if (stored?.manifest !== undefined) found.push({ manifest: stored.manifest, bucket: { region, name } });
  }
  return found.sort((a, b) => b.manifest.generation - a.manifest.generation)[0];
}
