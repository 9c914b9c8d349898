/** `landfall name who`: who has a name, and who has names around it. */
import pc from "picocolors";
import { baseOf, ownerOf } from "../core/names/claims.ts";
import { ancestorsOf, nameFault } from "../core/names/ownership.ts";
import { type Hold, holdsOf, type Point } from "../core/names/points.ts";
import { Hostname, Wildcard } from "../schemas/tenant.ts";
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
}

interface HeldName extends Hold {
  claim: string;
}

/** @throws UsageError when it is not a name */
export async function viewName(text: string): Promise<NameView> {
  const { loadSettings } = await import("../aws/settings.ts");
  const { readPoints } = await import("../aws/ledger/names.ts");
  const parsed = (text.startsWith("*") ? Wildcard : Hostname).safeParse(text);
  if (!parsed.success) throw new UsageError(`${text} ${parsed.error.issues[0]!.message}`);
  const base = baseOf(parsed.data);
  const names = [base, ...ancestorsOf(base)];
  const [points, { fleet }] = await Promise.all([readPoints(names), loadSettings()]);
  const around = names.flatMap((name) => heldIn(points.get(name)));
  const holder =
    around.find(({ claim }) => claim === parsed.data) ?? around.find(({ claim }) => !claim.startsWith("@"));
  return { name: parsed.data, holder, fault: nameFault(base, fleet), around };
}

const heldIn = (point: Point | undefined): HeldName[] =>
  point === undefined ? [] : holdsOf(point).map(({ claim, hold }) => ({ claim, ...hold }));

export async function showName(text: string, asJson: boolean): Promise<void> {
  const view = await viewName(text);
  if (asJson) return console.log(JSON.stringify(view));
  console.log(inWords(view));
  if (view.around.length === 0) return;
  const table = newTable(["holds", "tenant", "account", "cell", "since", "given up"]);
  for (const { claim, tenantId, owner, cell, since, releasedAt } of view.around) {
    const what = claim.startsWith("@") ? `something below ${claim.slice(1)}` : claim;
    const account = owner === ownerOf({ tenantId }) ? "-" : owner.slice(owner.indexOf(":") + 1);
    table.push([what, tenantId, account, cell, timeOf(since), releasedAt === undefined ? "-" : timeOf(releasedAt)]);
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

const timeOf = (at: number) => new Date(at).toISOString();
