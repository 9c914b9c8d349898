/** `landfall name`: who has a name and who has names around it, and what an operator decides about it. */
import pc from "picocolors";
import { accountIn, baseOf } from "../core/names/claims.ts";
import { type Decided, type Decision, grantTo, heldInWords, release } from "../core/names/decisions.ts";
import { ancestorsOf, nameFault } from "../core/names/ownership.ts";
import { type Grant, type Hold, holdsOf, type Point } from "../core/names/points.ts";
import { Hostname, TenantId, Wildcard } from "../schemas/tenant.ts";
import { callerArn } from "./caller.ts";
import { UsageError } from "./connect.ts";
import { newTable } from "./table.ts";

export interface NameView {
  /** In its ASCII form. */
  name: string;
  /** Whose it is, and what says so: `acme.com`, `*.acme.com`, or `@acme.com` for something below it. */
  holder: HeldName | undefined;
  /** Why no tenant can have it. */
  fault: string | undefined;
  /** What tenants hold of the name and of the names above it, the nearest first. */
  around: HeldName[];
  /** Grants of the name and of the names above it. */
  grants: (Grant & { name: string })[];
  /** What operators decided about the name itself, the oldest first. */
  decisions: Decision[];
}

interface HeldName extends Hold {
  claim: string;
}

/** @throws UsageError when it is not a name */
export async function viewName(text: string): Promise<NameView> {
  const { loadSettings } = await import("../aws/settings.ts");
  const { readPoints } = await import("../aws/ledger/names.ts");
  const { readDecisions } = await import("../aws/ledger/decisions.ts");
  const parsed = (text.startsWith("*") ? Wildcard : Hostname).safeParse(text);
  if (!parsed.success) throw new UsageError(`${text} ${parsed.error.issues[0]!.message}`);
  const base = baseOf(parsed.data);
  const names = [base, ...ancestorsOf(base)];
  const [points, { fleet }, decisions] = await Promise.all([readPoints(names), loadSettings(), readDecisions(base)]);
  const around = names.flatMap((name) => heldIn(points.get(name)));
  const holder =
    around.find(({ claim }) => claim === parsed.data) ?? around.find(({ claim }) => !claim.startsWith("@"));
  const grants = names.flatMap((name) => {
    const grant = points.get(name)?.grant;
    return grant === undefined ? [] : [{ name, ...grant }];
  });
  return { name: parsed.data, holder, fault: nameFault(base, fleet), around, grants, decisions };
}

const heldIn = (point: Point | undefined): HeldName[] =>
  point === undefined ? [] : holdsOf(point).map(({ claim, hold }) => ({ claim, ...hold }));

export async function showName(text: string, asJson: boolean): Promise<void> {
  const view = await viewName(text);
  if (asJson) return console.log(JSON.stringify(view));
  console.log(inWords(view));
  for (const { name, tenantId, at, by, why } of view.grants)
    console.log(`${name} is kept for ${pc.green(tenantId)} since ${timeOf(at)}, by ${by}: ${why}`);
  for (const { action, at, by, why, tenantId = "" } of view.decisions)
    console.log(`${timeOf(at)} ${[action, tenantId].join(" ").trim()}, by ${by}: ${why}`);
  if (view.around.length === 0) return;
  const table = newTable(["holds", "tenant", "account", "cell", "since", "given up"]);
  for (const { claim, tenantId, owner, cell, since, releasedAt } of view.around) {
    const what = claim.startsWith("@") ? `something below ${claim.slice(1)}` : claim;
    table.push([
      what,
      tenantId,
      accountIn(owner, tenantId) ?? "-",
      cell,
      timeOf(since),
      releasedAt === undefined ? "-" : timeOf(releasedAt),
    ]);
  }
  console.log(table.toString());
}

function inWords({ name, holder, fault, around }: NameView): string {
  if (fault !== undefined) return `no tenant can have ${name}: ${baseOf(name)} ${fault}`;
  if (holder !== undefined) {
    const why = holder.claim === name ? "" : `, because it has ${holder.claim}`;
    const state = holder.releasedAt === undefined ? "" : pc.yellow(" (given up, and still reserved for it)");
    return `${name} belongs to ${pc.green(holder.tenantId)}${why}${state}`;
  }
  const below = around.filter(({ claim }) => claim === `@${baseOf(name)}`);
  if (below.length === 0) return `${name} is free`;
  return `${name} belongs to nobody. A tenant can have it only if it has, with its account, all that is held below it`;
}

/** Keeps a name for a tenant. Throws UsageError when another tenant has it. */
export const grantName = (text: string, tenantId: string, why: string): Promise<void> => {
  if (!TenantId.safeParse(tenantId).success) throw new UsageError(`${tenantId} is not a tenant's id`);
  return decide(text, { action: "grant", why, tenantId }, (name, point, { at, by }) =>
    grantTo(name, point, { tenantId, at, by, why }),
  );
};

/** Ends a grant, and the cool-off of what tenants gave up of the name. */
export const releaseName = (text: string, why: string): Promise<void> =>
  decide(text, { action: "release", why }, (name, point, { at }) => release(name, point, at));

async function decide(
  text: string,
  about: Pick<Decision, "action" | "why" | "tenantId">,
  decided: (name: string, point: Point | undefined, decision: Decision) => Decided,
): Promise<void> {
  const { loadSettings } = await import("../aws/settings.ts");
  const { readPoints } = await import("../aws/ledger/names.ts");
  const { writeDecision } = await import("../aws/ledger/decisions.ts");
  const parsed = Hostname.safeParse(baseOf(text)); // a decision is about the name, its wildcard and all below it
  if (!parsed.success) throw new UsageError(`${text} ${parsed.error.issues[0]!.message}`);
  const name = parsed.data;
  const fault = nameFault(name, (await loadSettings()).fleet);
  if (fault !== undefined) throw new UsageError(`no tenant can have ${name}: it ${fault}`);
  const before = (await readPoints([name])).get(name);
  const decision = { ...about, at: Date.now(), by: await callerArn(), before: heldInWords(before) };
  const outcome = decided(name, before, decision);
  if (!outcome.ok) throw new UsageError(`${name}: ${outcome.reason}`);
  if (!(await writeDecision(name, before, outcome.point, decision)))
    throw new UsageError(`${name} changed meanwhile: look at \`landfall name who ${name}\` and try again`);
  await showName(name, false);
}

const timeOf = (at: number) => new Date(at).toISOString();
