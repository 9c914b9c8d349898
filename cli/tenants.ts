/** `landfall tenant …`: writes tenant records and shows their state. */
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { DeleteCommand, PutCommand, paginateScan } from "@aws-sdk/lib-dynamodb";
import pc from "picocolors";
import { canonicalJson, plain } from "../core/canonical.ts";
import type { Condition } from "../core/rollout/conditions.ts";
import type { TraceStep } from "../core/rollout/trace.ts";
import { sha256 } from "../schemas/signed.ts";
import { UsageError } from "./connect.ts";
import { newTable } from "./table.ts";
import { type TenantView, traceTenant, viewTenant } from "./view.ts";

/** Loaded only when needed: aws/ reads its environment when it is loaded, and `connect` must set it before. */
const aws = async () => ({
  ...(await import("../aws/documents.ts")),
  ...(await import("../aws/settings.ts")),
});

const waitMs = 60_000;

export async function putTenant(file: string, wait: boolean): Promise<void> {
  const { documents, environment, loadSettings } = await aws();
  const input = readRecordFile(file);
  const { validateRecord } = await import("../core/admission/validate.ts");
  const validated = validateRecord(input, (await loadSettings()).fleet);
  if (!validated.ok)
    throw new UsageError(
      `${file} is not a record that this fleet can serve:\n${validated.reasons.map((fault) => `  ${fault}`).join("\n")}`,
    );
  await documents.send(new PutCommand({ TableName: environment.LANDFALL_TENANTS_TABLE, Item: validated.record }));
  const { tenantId } = validated.record;
  if (wait) return waitFor(tenantId, sha256(canonicalJson(plain(validated.record))));
  console.log(`${tenantId} written; follow it with: npm run landfall -- tenant show ${tenantId}`);
}

/**
 * Shows the tenant once this record is settled. It compares hashes, because an unchanged record starts no rollout.
 * @throws UsageError when it is rejected, or takes too long
 */
async function waitFor(tenantId: string, hash: string): Promise<void> {
  for (const until = Date.now() + waitMs; Date.now() < until; await sleep(50)) {
    const view = await viewTenant(tenantId);
    if (view === undefined || view.hash !== hash) continue;
    if (view.state === "Rejected" || view.state === "Pending")
      throw new UsageError(`${tenantId} is ${view.state}:\n${view.reasons.map((reason) => `  ${reason}`).join("\n")}`);
    if (view.observedGeneration < view.generation || view.served === "rolling out") continue;
    return showTenant(tenantId, {});
  }
  throw new UsageError(`${tenantId} is not settled after ${waitMs / 1000} s: see \`status\``);
}

function readRecordFile(file: string): unknown {
  let text: string;
  try {
    text = readFileSync(file === "-" ? 0 : file, "utf8");
  } catch (error) {
    throw new UsageError(`${file} can't be read: ${(error as Error).message}`);
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UsageError(`${file} is not JSON: ${(error as Error).message}`);
  }
}

export async function removeTenant(tenantId: string): Promise<void> {
  const { documents, environment } = await aws();
  const { Attributes } = await documents.send(
    new DeleteCommand({ TableName: environment.LANDFALL_TENANTS_TABLE, Key: { tenantId }, ReturnValues: "ALL_OLD" }),
  );
  if (Attributes === undefined) throw new UsageError(`there is no tenant ${tenantId}`);
  console.log(`${tenantId} removed`);
}

export interface ShowOptions {
  json?: boolean;
  trace?: boolean;
}

export async function showTenant(tenantId: string, { json = false, trace = false }: ShowOptions): Promise<void> {
  const view = await viewTenant(tenantId);
  if (view === undefined) throw new UsageError(`there is no tenant ${tenantId}`);
  const steps = trace ? await traceTenant(tenantId) : undefined;
  if (json) return console.log(JSON.stringify(trace ? { ...view, trace: steps ?? [] } : view));
  const lines: [string, string][] = [
    ["tenant", view.tenantId],
    ["state", stateInColour(view.state)],
    ["generation", `${view.generation}, observed ${view.observedGeneration}`],
    ["served", `${view.served}${regionsInWords(view)}`],
    ["endpoint", view.endpoint ?? "-"],
    ["names", [...view.hostnames, ...view.wildcards].join(", ") || "-"],
    ...(view.derivedNames.length === 0 ? [] : [["derived", view.derivedNames.join(", ")] as [string, string]]),
    [
      "ports",
      Object.entries(view.ports)
        .map(([protocol, port]) => `${protocol} ${port}`)
        .join(", ") || "-",
    ],
    ["rollout", view.rolloutMs === undefined ? "-" : `${view.rolloutMs} ms`],
    ...view.reasons.map((reason): [string, string] => ["reason", pc.yellow(reason)]),
    ...view.missing.map((edge): [string, string] => ["missing", edge]),
  ];
  for (const [name, value] of lines) console.log(`${name.padEnd(12)}${value}`);
  printConditions(view.conditions);
  if (trace) printTrace(steps);
}

const regionsInWords = ({ regions, regionsCounted }: TenantView) =>
  regionsCounted.length === 0 ? "" : ` (${regions.length} of ${regionsCounted.length} regions: ${regions.join(", ")})`;

function printConditions(conditions: Condition[]): void {
  const table = newTable(["condition", "status", "reason", "generation", "since", "message"]);
  for (const { type, status, reason, generation, at, message } of conditions)
    table.push([type, status, reason, generation, at === undefined ? "-" : new Date(at).toISOString(), message]);
  console.log(table.toString());
}

function printTrace(steps: TraceStep[] | undefined): void {
  if (steps === undefined) return console.log("no trace: no change of the tenant was settled in the last 7 days");
  const table = newTable(["ms", "+ ms", "step"]);
  for (const { step, sinceLast, sinceStart } of steps) table.push([sinceStart, sinceLast, step]);
  console.log(table.toString());
}

const stateInColour = (state: string) =>
  state === "Admitted" ? pc.green(state) : state === "Rejected" ? pc.red(state) : state;

export async function listTenants(asJson: boolean): Promise<void> {
  const { documents, environment } = await aws();
  const ids: string[] = [];
  const pages = paginateScan(
    { client: documents },
    { TableName: environment.LANDFALL_TENANTS_TABLE, ProjectionExpression: "tenantId" },
  );
  for await (const page of pages) ids.push(...(page.Items ?? []).map((item) => String(item.tenantId)));
  const views: TenantView[] = [];
  for (const id of ids.sort()) {
    const view = await viewTenant(id);
    if (view !== undefined) views.push(view);
  }
  if (asJson) return console.log(JSON.stringify(views));
  if (views.length === 0)
    return console.log("no tenants: write one with npm run landfall -- tenant put examples/tenant.json");
  const table = newTable(["tenant", "state", "served", "generation", "ports", "names"]);
  for (const view of views) {
    const ports = Object.entries(view.ports)
      .map(([protocol, port]) => `${protocol} ${port}`)
      .join(", ");
    table.push([view.tenantId, view.state, view.served, view.generation, ports, view.hostnames.join(", ")]);
  }
  console.log(table.toString());
}
