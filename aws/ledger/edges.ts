/** Edges: a few items with the summaries of a cell, and one item with the details of each edge. */
import {
  DeleteCommand,
  PutCommand,
  TransactWriteCommand,
  UpdateCommand,
  type UpdateCommandInput,
} from "@aws-sdk/lib-dynamodb";
import { type Edge, type EdgeDetail, type EdgeSummary, summaryItemOf } from "../../core/edges/edge.ts";
import type { Ignored } from "../../core/edges/identity.ts";
import { RowChangedError } from "../../core/errors.ts";
import { edgeLimits } from "../../schemas/limits.ts";
import { batchGet, documents, failedConditions, isConditionFailed } from "../documents.ts";
import { environment } from "../settings.ts";
import { keys } from "./keys.ts";
import { queryAll } from "./query.ts";

const TableName = environment.LANDFALL_LEDGER_TABLE;

/** A part of an edge and its version, which each write counts up. 0 is the version of a part that is not stored. */
export interface StoredSummary {
  summary: EdgeSummary;
  version: number;
}
export interface StoredDetail {
  detail: EdgeDetail;
  version: number;
}

/** The edges of a cell, without their details, in order. */
export const readSummaries = async (cell: string): Promise<EdgeSummary[]> =>
  [...(await readStored(cell)).values()]
    .map(({ summary }) => summary)
    .toSorted((a, b) => (a.edgeId < b.edgeId ? -1 : 1));

/** The same, by the edges' ids. */
export async function readStored(cell: string): Promise<Map<string, StoredSummary>> {
  const items = Array.from({ length: edgeLimits.summaryItems }, (_, item) => keys.edges(cell, item));
  return new Map((await batchGet<Record<string, unknown>>(TableName, items)).flatMap((item) => [...storedIn(item)]));
}

function storedIn(item: Record<string, unknown> | undefined): Map<string, StoredSummary> {
  const { pk: _, sk: __, ...edges } = item ?? {};
  return new Map(Object.entries(edges as Record<string, StoredSummary>));
}

export async function readDetails(edgeIds: string[]): Promise<Map<string, StoredDetail>> {
  const items = await batchGet<StoredDetail>(TableName, edgeIds.map(keys.edge));
  return new Map(items.map((item) => [item.detail.edgeId, item]));
}

/** Details of these edges, whose summaries were read before. An edge that was forgotten meanwhile is left out. */
export async function withDetails(summaries: EdgeSummary[]): Promise<Edge[]> {
  const details = await readDetails(summaries.map(({ edgeId }) => edgeId));
  return summaries.flatMap((summary) => {
    const found = details.get(summary.edgeId);
    return found === undefined ? [] : [{ ...summary, ...found.detail }];
  });
}

/** Summaries are written last and read first: the details that are read are at least as new. */
export const readEdges = async (cell: string): Promise<Edge[]> => withDetails(await readSummaries(cell));

/**
 * Writes an edge's details over their version.
 * @throws RowChangedError when another report came in between
 */
export async function writeDetail({ detail, version }: StoredDetail): Promise<void> {
  try {
    await documents.send(
      new PutCommand({
        TableName,
        Item: { ...keys.edge(detail.edgeId), version: version + 1, detail },
        ...(version === 0
          ? { ConditionExpression: "attribute_not_exists(pk)" }
          : { ConditionExpression: "version = :version", ExpressionAttributeValues: { ":version": version } }),
      }),
    );
  } catch (error) {
    throw isConditionFailed(error) ? changed(detail.edgeId, error) : error;
  }
}

/**
 * Writes summaries of a cell, each over its version, and returns all summaries of the items that it wrote, as they are
 * then.
 * @throws RowChangedError when one of them changed meanwhile; others may be written
 */
export async function writeSummaries(cell: string, summaries: StoredSummary[]): Promise<Map<string, StoredSummary>> {
  const after = new Map<string, StoredSummary>();
  for (const [item, all] of Map.groupBy(summaries, ({ summary }) => summaryItemOf(summary.edgeId)))
    for (let from = 0; from < all.length; from += edgeLimits.edgesPerUpdate)
      try {
        const some = all.slice(from, from + edgeLimits.edgesPerUpdate);
        const { Attributes } = await documents.send(new UpdateCommand(updateOf(keys.edges(cell, item), some)));
        for (const [edgeId, stored] of storedIn(Attributes)) after.set(edgeId, stored);
      } catch (error) {
        throw isConditionFailed(error) ? changed(`a summary of ${cell}`, error) : error;
      }
  return after;
}

function updateOf(Key: { pk: string; sk: string }, summaries: StoredSummary[]): UpdateCommandInput {
  const conditions = summaries.map(({ version }, index) =>
    version === 0 ? `attribute_not_exists(#e${index})` : `#e${index}.version = :v${index}`,
  );
  const values = summaries.flatMap(({ summary, version }, index): [string, unknown][] => [
    [`:e${index}`, { summary, version: version + 1 }],
    ...(version === 0 ? [] : [[`:v${index}`, version] as [string, unknown]]),
  ]);
  return {
    TableName,
    Key,
    UpdateExpression: `SET ${summaries.map((_, index) => `#e${index} = :e${index}`).join(", ")}`,
    ConditionExpression: conditions.join(" AND "),
    ExpressionAttributeNames: Object.fromEntries(summaries.map(({ summary }, index) => [`#e${index}`, summary.edgeId])),
    ExpressionAttributeValues: Object.fromEntries(values),
    ReturnValues: "ALL_NEW",
  };
}

const changed = (what: string, cause: unknown) => new RowChangedError(`${what} was written meanwhile`, { cause });

/**
 * Forgets an edge: it does not count any more, and reports of its instance are ignored.
 * @throws RowChangedError when its summary changed meanwhile
 */
export async function forgetEdge({ summary: { cell, edgeId }, version }: StoredSummary): Promise<void> {
  try {
    await documents.send(
      new TransactWriteCommand({
        TransactItems: [
          {
            Update: {
              TableName,
              Key: keys.edges(cell, summaryItemOf(edgeId)),
              UpdateExpression: "REMOVE #edge",
              ConditionExpression: "#edge.version = :version",
              ExpressionAttributeNames: { "#edge": edgeId },
              ExpressionAttributeValues: { ":version": version },
            },
          },
          { Delete: { TableName, Key: keys.edge(edgeId) } },
        ],
      }),
    );
  } catch (error) {
    throw failedConditions(error) === undefined ? error : changed(edgeId, error);
  }
}

/** Removes the last report of a writer. */
export async function deleteReport(writer: string): Promise<void> {
  await documents.send(new DeleteCommand({ TableName: environment.LANDFALL_REPORTS_TABLE, Key: { id: writer } }));
}

/** Reports that counted for no edge, by reason: how many, and the last one. */
export interface IgnoredReports {
  reason: Ignored;
  reports: number;
  lastEdge: string;
  lastAt: number;
}

export const readIgnored = () => queryAll<IgnoredReports>(keys.ignoredReports);

export async function countIgnored(reason: Ignored, edgeId: string, reports: number, now: number): Promise<void> {
  await documents.send(
    new UpdateCommand({
      TableName,
      Key: keys.ignored(reason),
      UpdateExpression: "SET reason = :reason, lastEdge = :edge, lastAt = :now ADD reports :reports",
      ExpressionAttributeValues: { ":reason": reason, ":edge": edgeId, ":now": now, ":reports": reports },
    }),
  );
}
