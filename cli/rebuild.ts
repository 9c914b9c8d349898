/** `landfall rebuild`: reads the snapshots back into a ledger that is behind them. */
import pc from "picocolors";
import type { TenantRow } from "../core/admission/tenant-row.ts";
import { planRebuild } from "../core/publishing/rebuild.ts";
import type { Cell, Fleet } from "../schemas/fleet.ts";
import type { Manifest } from "../schemas/snapshot.ts";
import { UsageError } from "./connect.ts";

export async function rebuild(apply: boolean): Promise<void> {
  const { loadSettings } = await import("../aws/settings.ts");
  const { fleet } = await loadSettings();
  const rows = await readRows();
  for (const cell of fleet.cells) await rebuildCell(cell, fleet, rows, apply);
  if (!apply) return console.log("nothing was written: add --apply");
  console.log("each record is looked at again by the audit, within two of its rounds (ten minutes)");
}

async function readRows(): Promise<TenantRow[]> {
  const { scanLedger } = await import("../aws/ledger/audit.ts");
  const rows: TenantRow[] = [];
  for await (const page of scanLedger())
    for (const item of page) if (item.sk === "ROW") rows.push(item.row as TenantRow);
  return rows;
}

async function rebuildCell(cell: Cell, fleet: Fleet, rows: TenantRow[], apply: boolean): Promise<void> {
  const { readCell } = await import("../aws/ledger/cells.ts");
  const { writeRebuild } = await import("../aws/ledger/rebuild.ts");
  const { getText } = await import("../aws/snapshots.ts");
  const { RouteBucket } = await import("../schemas/snapshot.ts");
  const newest = await newestManifest(cell, fleet);
  const { commit, counters, halt } = await readCell(cell.name);
  console.log(
    `cell ${cell.name}: the ledger is at generation ${commit?.generation ?? 0}, the snapshots at ${newest?.manifest.generation ?? 0}`,
  );
  if (newest === undefined) return;
  const { manifest, bucket } = newest;
  const isBehind =
    commit === undefined || commit.incarnation !== manifest.incarnation || commit.generation < manifest.generation;
  if (!isBehind && halt === undefined) return console.log("  the ledger is not behind: nothing to do");
  const texts = await Promise.all(
    manifest.routes.map(async (hash) => {
      const text = await getText(bucket, hash);
      if (text === undefined) throw new UsageError(`${bucket.name} lacks ${hash}, which its manifest names`);
      return text;
    }),
  );
  const routes = texts.flatMap((text) => RouteBucket.parse(JSON.parse(text)).routes);
  const now = Date.now();
  const plan = planRebuild({
    cell,
    routes,
    rows: rows.filter((row) => row.cell === cell.name),
    taken: { raw: counters.raw.taken, tls: counters.tls.taken },
    platformDomains: fleet.platformDomains,
    now,
  });
  console.log(
    `  ${routes.length} routes: ${plan.rows.length} tenants, ${plan.claims.length} names and zones, ${plan.slots.length} slots, ${plan.unknown.length} numbers of nobody`,
  );
  if (!apply) return;
  const sizes = texts.map((text) => Buffer.byteLength(text));
  const { generation, incarnation, routes: hashes, structure } = manifest;
  await writeRebuild(
    cell,
    plan,
    routes,
    { generation, incarnation, routes: hashes, structure, sizes, committedAt: now },
    now,
  );
  console.log(pc.green(`  cell ${cell.name} goes on from generation ${generation}`));
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
