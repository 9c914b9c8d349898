/** `landfall status`: cells, edges, and what the accelerator does with them. */
import pc from "picocolors";
import type { IgnoredReports } from "../aws/ledger/edges.ts";
import type { InvalidSetting } from "../aws/settings.ts";
import { evacuationFault } from "../core/failover/foresee.ts";
import type { Pin } from "../core/failover/pins.ts";
import { pinInWords } from "../core/failover/record.ts";
import { roomIn } from "../core/slots/placement.ts";
import type { ClosingSessions, DrainProgress } from "../schemas/report.ts";
import { newTable } from "./table.ts";

export interface EdgeView {
  edgeId: string;
  region: string;
  generation: number;
  serving: boolean;
  lastReportMs: number;
  weight: number | undefined;
  dial: number | undefined;
  health: string;
  nack: string | undefined;
  drain: DrainProgress | undefined;
  closing: ClosingSessions[];
}
export interface CellView {
  cell: string;
  generation: number;
  frozen: boolean;
  mode: string;
  /** Why the last publication failed, if it did. */
  trouble: string | undefined;
  /** SSM parameters whose newest version is invalid, and which version is used. */
  invalidSettings: InvalidSetting[];
  /** Reports that counted for no edge. */
  ignoredReports: IgnoredReports[];
  /** Free slots by kind. */
  room: { raw: number; tls: number };
  /** Why nothing is allocated or published, if the cell is halted. */
  halted: string | undefined;
  /** Regions whose manifest could not be written, and why. */
  behind: { region: string; reason: string; sinceMs: number }[];
  /** The stage of a new structure, and why it was returned. */
  structure: { stage: string; target: string; reason: string | undefined } | undefined;
  /** Regions, and why each could not be evacuated now. */
  regions: { region: string; stuck: string | undefined }[];
  /** What operators want of edges and regions, for a time. */
  pins: Pin[];
  edges: EdgeView[];
}

export async function viewStatus(now = Date.now()): Promise<CellView[]> {
  const { loadSettings } = await import("../aws/settings.ts");
  const { readCell } = await import("../aws/ledger/cells.ts");
  const { readEdges, readIgnored } = await import("../aws/ledger/edges.ts");
  const { readFacts } = await import("../control/failover/evaluate.ts");
  const { fleet, frozen, mode, invalid } = await loadSettings();
  const ignoredReports = await readIgnored();
  return Promise.all(
    fleet.cells.map(async (cell) => {
      const { name } = cell;
      const [{ commit, halt, trouble, copyFailures, structure, counters }, rows, { facts }] = await Promise.all([
        readCell(name),
        readEdges(name),
        readFacts(name),
      ]);
      const { groups } = facts.observed;
      const endpoints = new Map(
        groups.flatMap((group) =>
          group.endpoints.map((endpoint) => [endpoint.edgeId, { ...endpoint, dial: group.dial }]),
        ),
      );
      const edges = rows.map((row) => {
        const endpoint = endpoints.get(row.edgeId);
        return {
          edgeId: row.edgeId,
          region: row.region,
          generation: row.appliedGeneration,
          serving: row.serving,
          lastReportMs: now - row.reportedAt,
          weight: endpoint?.weight,
          dial: endpoint?.dial,
          health: endpoint?.health ?? "not in the accelerator",
          nack: row.nack?.reason,
          drain: row.drain,
          closing: row.closing ?? [],
        };
      });
      return {
        cell: name,
        generation: commit?.generation ?? 0,
        room: { raw: roomIn(cell, "raw", counters.raw), tls: roomIn(cell, "tls", counters.tls) },
        halted: halt?.reason,
        frozen,
        mode,
        invalidSettings: invalid,
        ignoredReports,
        trouble: trouble?.reason,
        pins: facts.pins,
        regions: cell.regions.toSorted().map((region) => ({ region, stuck: evacuationFault(facts, region) })),
        behind: copyFailures.map(({ region, reason, at }) => ({ region, reason, sinceMs: now - at })),
        structure: structure && {
          stage: structure.state.stage,
          target: structure.state.target.slice(0, 12),
          reason: structure.state.reason,
        },
        edges: edges.sort((a, b) => (a.region + a.edgeId < b.region + b.edgeId ? -1 : 1)),
      };
    }),
  );
}

export async function showStatus(asJson: boolean): Promise<void> {
  const cells = await viewStatus();
  if (asJson) return console.log(JSON.stringify(cells));
  for (const { name, version, reason, usedVersion } of cells[0]?.invalidSettings ?? [])
    console.log(pc.red(`${name}: version ${version} is invalid, version ${usedVersion} is used: ${reason}`));
  for (const { reason, reports, lastEdge, lastAt } of cells[0]?.ignoredReports ?? [])
    console.log(
      pc.yellow(`${reports} reports ignored: ${reason}; the last one ${new Date(lastAt).toISOString()} by ${lastEdge}`),
    );
  for (const {
    cell,
    generation,
    edges,
    room,
    halted,
    frozen,
    mode,
    trouble,
    behind,
    structure,
    pins,
    regions,
  } of cells) {
    console.log(`cell ${cell}, generation ${generation}, room for ${room.raw} raw and ${room.tls} tls slots`);
    if (frozen) console.log(pc.yellow("frozen: nothing is published, and the accelerator is not written"));
    if (mode === "monitor") console.log(pc.yellow("monitor mode: the accelerator is not written"));
    if (trouble !== undefined) console.log(pc.red(`publishing fails: ${trouble}`));
    if (halted !== undefined) console.log(pc.red(`halted: ${halted}`));
    for (const { region, reason, sinceMs } of behind)
      console.log(pc.yellow(`${region} has been behind for ${(sinceMs / 1000).toFixed(0)} s: ${reason}`));
    if (structure !== undefined)
      console.log(
        `structure ${structure.target}: ${structure.stage}${structure.reason ? `, ${structure.reason}` : ""}`,
      );
    for (const pin of pins) console.log(pc.yellow(pinInWords(pin)));
    for (const { region, stuck } of regions)
      if (stuck !== undefined) console.log(pc.yellow(`${region} could not be evacuated now: ${stuck}`));
    const table = newTable(["edge", "region", "generation", "serving", "report", "weight", "dial", "health"]);
    for (const edge of edges)
      table.push([
        edge.edgeId,
        edge.region,
        edge.generation,
        edge.serving ? "yes" : "no",
        `${(edge.lastReportMs / 1000).toFixed(1)} s ago`,
        edge.weight ?? "-",
        edge.dial === undefined ? "-" : `${edge.dial} %`,
        edge.nack === undefined ? edge.health : `${edge.health}, refuses: ${edge.nack}`,
      ]);
    console.log(table.toString());
    for (const edge of edges) for (const line of sessionLines(edge)) console.log(line);
  }
}

/** The sessions that an edge closes, and why, as text. Times are by the edge's clock. */
function sessionLines({ edgeId, drain, closing }: EdgeView, now = Date.now()): string[] {
  const seconds = (ms: number) => `${Math.max(0, ms / 1000).toFixed(0)} s`;
  const lines = closing.map(({ slot, tenantId, open, closesAt, closed, fault }) => {
    const rest = open > 0 ? `${open} sessions, to be closed in ${seconds(closesAt - now)}` : "no session left";
    return `${edgeId}: ${tenantId} (slot ${slot}) was removed: ${fault ?? rest}; ${closed} closed`;
  });
  if (drain === undefined) return lines;
  return [`${edgeId}: ${drain.phase} for ${seconds(now - drain.since)}, ${drain.sessions} sessions`, ...lines];
}
