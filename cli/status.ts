/** `landfall status`: cells, edges, and what the accelerator does with them. */
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
}
export interface CellView {
  cell: string;
  generation: number;
  edges: EdgeView[];
}

export async function viewStatus(now = Date.now()): Promise<CellView[]> {
  const { loadSettings } = await import("../aws/settings.ts");
  const { readCommit } = await import("../aws/ledger/commits.ts");
  const { readEdges } = await import("../aws/ledger/edges.ts");
  const { observeAccelerator } = await import("../aws/accelerator.ts");
  const { fleet } = await loadSettings();
  return Promise.all(
    fleet.cells.map(async ({ name, listenerArn }) => {
      const [commit, rows, { groups }] = await Promise.all([
        readCommit(name),
        readEdges(name),
        observeAccelerator(listenerArn),
      ]);
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
        };
      });
      return {
        cell: name,
        generation: commit?.generation ?? 0,
        edges: edges.sort((a, b) => (a.region + a.edgeId < b.region + b.edgeId ? -1 : 1)),
      };
    }),
  );
}

export async function showStatus(asJson: boolean): Promise<void> {
  const cells = await viewStatus();
  if (asJson) return console.log(JSON.stringify(cells));
  for (const { cell, generation, edges } of cells) {
    console.log(`cell ${cell}, generation ${generation}`);
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
  }
}
