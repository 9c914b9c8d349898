/** `landfall rebuild`: rebuilds a ledger from the snapshots when it is behind them. */
import { setTimeout as sleep } from "node:timers/promises";
import pc from "picocolors";
import { inParallel } from "../aws/parallel.ts";
import type { TenantRow } from "../core/admission/tenant-row.ts";
import type { Claimed, Point } from "../core/names/points.ts";
import { claimsBy, planPoints, planRebuild, type Rebuild } from "../core/publishing/rebuild.ts";
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
  const newest: Newest[] = [];
  for (const cell of fleet.cells) newest.push(...(await compare(cell, fleet)));
  if (!newest.some(({ isBehind }) => isBehind)) return;
  // Names are the fleet's: if one cell is behind, a tenant of another cell may have got a name that the first one serves.
  const snapshots: Snapshot[] = [];
  for (const one of newest) snapshots.push(await readSnapshot(one, fleet));
  const since = Math.min(...newest.map(({ committedAt }) => committedAt)) - clockMs;
  const found: Found = { fleet, snapshots, recent: await publishedSince(since, fleet) };
  if (!apply) {
    const { rows } = await readLedger();
    for (const snapshot of snapshots) say(planOf(snapshot, found, rows), snapshot);
    return console.log("nothing was written: add --apply");
  }
  for (const { cell } of snapshots)
    await halt(
      cell.name,
      "a rebuild is in progress or was interrupted: run `landfall rebuild --apply` again",
      Date.now(),
    );
  for (let pass = 0; pass < 2; pass++) {
    if (pass > 0) await sleep(lateMs);
    for (const snapshot of snapshots) await write(snapshot, found);
  }
  for (const { cell, manifest } of snapshots) {
    await resume(cell.name);
    console.log(pc.green(`cell ${cell.name} continues from generation ${manifest.generation}`));
  }
  console.log("the audit now checks every record again: 1,500 tenants in two rounds (ten minutes)");
}

/** A cell's newest manifest, and what the ledger has of the cell. */
interface Newest {
  cell: Cell;
  manifest: Manifest;
  /** Where the manifest is. */
  bucket: { region: string; name: string };
  /** The ledger is behind it, or the cell is halted. */
  isBehind: boolean;
  /** When the ledger's commit was made. */
  committedAt: number;
  taken: { raw: number; tls: number };
}

/** The content of a cell's newest manifest. */
interface Snapshot extends Newest {
  routes: Route[];
  /** Bytes of each bucket. */
  sizes: number[];
  /** The claims of what it serves. */
  claims: Claimed[];
}

/** What the buckets have of all cells. */
interface Found {
  fleet: Fleet;
  snapshots: Snapshot[];
  /** Routes that were published since the backup, the newest first. */
  recent: Route[];
}

async function compare(cell: Cell, fleet: Fleet): Promise<Newest[]> {
  const { readCell } = await import("../aws/ledger/cells.ts");
  const newest = await newestManifest(cell, fleet);
  const { commit, counters, halt } = await readCell(cell.name);
  const at = `the ledger is at generation ${commit?.generation ?? 0}, the snapshots at ${newest?.manifest.generation ?? 0}`;
  console.log(`cell ${cell.name}: ${at}`);
  if (newest === undefined) return [];
  const { generation, incarnation } = newest.manifest;
  const isBehind =
    halt !== undefined || commit === undefined || commit.incarnation !== incarnation || commit.generation < generation;
  if (!isBehind) console.log("  the ledger is not behind");
  const taken = { raw: counters.raw.taken, tls: counters.tls.taken };
  return [{ cell, ...newest, isBehind, committedAt: commit?.committedAt ?? 0, taken }];
}

async function readSnapshot(newest: Newest, fleet: Fleet): Promise<Snapshot> {
  const { getText } = await import("../aws/snapshots.ts");
  const { readRoutesBelow } = await import("../control/publishing/trees.ts");
  const { manifest, bucket } = newest;
  const read = async (hash: string) => {
    const text = await getText(bucket, hash);
    if (text === undefined) throw new UsageError(`${bucket.name} lacks ${hash}, which its manifest names`);
    return RouteObject.parse(JSON.parse(text));
  };
  const buckets = await inParallel(manifest.routes, (hash) => readRoutesBelow(read, hash));
  const sizes = buckets.map((list) => renderBucket(list).bytes);
  const routes = buckets.flat();
  return { ...newest, routes, sizes, claims: claimsBy(routes, fleet) };
}

/** The routes of objects that were put since then, the newest first. */
async function publishedSince(since: number, fleet: Fleet): Promise<Route[]> {
  const { getText, listObjects } = await import("../aws/snapshots.ts");
  const home = { region: fleet.homeRegion, name: fleet.buckets[fleet.homeRegion]! };
  const recent = (await listObjects(home)).filter(({ putAt }) => putAt >= since).sort((a, b) => b.putAt - a.putAt);
  const texts = await inParallel(recent, ({ hash }) => getText(home, hash));
  const leaves = texts.filter((text) => text?.startsWith('{"routes"')); // the others are branches and structures
  return leaves.flatMap((text) => (RouteObject.parse(JSON.parse(text!)) as { routes: Route[] }).routes);
}

async function readLedger() {
  const { scanLedger } = await import("../aws/ledger/audit.ts");
  const { pointIn } = await import("../aws/ledger/points.ts");
  const rows: TenantRow[] = [];
  const points: Point[] = [];
  for await (const { items } of scanLedger(undefined, { consistent: true }))
    for (const item of items) {
      if (item.sk === "ROW") rows.push(item.row as TenantRow);
      const point = pointIn(item);
      if (point !== undefined) points.push(point);
    }
  return { rows, points };
}

/** A tenant belongs to the cell that serves it, even if its row names another: it may have moved since. */
function planOf({ cell, routes, taken }: Snapshot, { fleet, snapshots, recent }: Found, rows: TenantRow[]): Rebuild {
  const here = new Set(routes.map(({ tenantId }) => tenantId));
  const anywhere = new Set(snapshots.flatMap((other) => other.routes.map(({ tenantId }) => tenantId)));
  const elsewhere = snapshots.filter((other) => other.cell !== cell);
  return planRebuild({
    cell,
    routes,
    rows: rows.filter((row) => here.has(row.tenantId) || (row.cell === cell.name && !anywhere.has(row.tenantId))),
    taken,
    recent,
    claimedElsewhere: elsewhere.flatMap(({ claims }) => claims),
    rules: fleet,
    now: Date.now(),
  });
}

const say = ({ rows, claims, slots, unknown }: Rebuild, { cell, routes }: Snapshot): void =>
  console.log(
    `  ${cell.name}: ${routes.length} routes: ${rows.length} tenants, ${claims.length} claims of names, ${slots.length} slots, ${unknown.length} slots without a known tenant`,
  );

async function write(snapshot: Snapshot, found: Found): Promise<void> {
  const { writeRebuild } = await import("../aws/ledger/rebuild.ts");
  const { cell, manifest, sizes, routes } = snapshot;
  const { rows, points } = await readLedger();
  const plan = planOf(snapshot, found, rows);
  say(plan, snapshot);
  // A tenant without a row or a route belonged to any cell: its name's cool-off is longer than an edge may lag.
  const { cell: first } = found.snapshots[0]!;
  const servedIn = new Map(
    found.snapshots.flatMap(({ cell, routes }) => routes.map((one) => [one.tenantId, cell.name])),
  );
  const rowOf = new Map(rows.map((row) => [row.tenantId, row]));
  const cellOf = (tenantId: string) => servedIn.get(tenantId) ?? rowOf.get(tenantId)?.cell ?? first.name;
  const names = planPoints({
    cell: cell.name,
    before: points,
    claims: plan.claims,
    elsewhere: found.snapshots.flatMap((other) => (other.cell === cell ? [] : other.claims)),
    recent: claimsBy(found.recent, found.fleet),
    isHere: (tenantId) => cellOf(tenantId) === cell.name,
    now: Date.now(),
  });
  const { generation, incarnation, routes: hashes, structure } = manifest;
  const now = Date.now();
  const commit = { generation, incarnation, routes: hashes, structure, sizes, committedAt: now };
  await writeRebuild(cell, plan, routes, commit, names, now);
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
