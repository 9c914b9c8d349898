/** Rare states that histories must reach, now and then: a simulation that never gets there proves little. */
import { pointIn } from "../../aws/ledger/points.ts";
import type { TenantRow } from "../../core/admission/tenant-row.ts";
import { holdsOf, type Point } from "../../core/names/points.ts";
import type { StructureState } from "../../core/publishing/structure.ts";
import type { Group } from "../../local/services/accelerator/model.ts";
import type { Item } from "./expressions.ts";
import type { FunctionName } from "./functions.ts";

export const rareStates = [
  "a tenant waits for room",
  "a tenant is refused for another one's name",
  "a tenant is refused for a name above or below another one's",
  "a name goes to another tenant",
  "tenants of an account share a name's zone",
  "a slot goes to another tenant",
  "a given-up slot is used by its own tenant again",
  "a region is marked as behind",
  "a tenant's writes wait for their turn",
  "a report is ignored",
  "an instance dies in the middle of a call",
  "tenants are admitted in one transaction",
  "a group of tenants is admitted one by one",
  "a batch needs another attempt",
  "a publisher finds the lease taken",
  "a write meets a conflict",
  "a batch read comes back in parts",
  "a commit waits for the end of a freeze",
  "a bucket is divided",
  "a divided bucket is one leaf again",
  "an instance is replaced",
  "a silent edge is given up",
  "an edge refuses a route",
  "an edge is accused by another",
  "an edge gets no users, because it is degraded",
  "a region gets no users, because it is degraded",
  "a writer finds the accelerator's lease taken",
  "a structure reaches every edge",
  "a structure is returned",
  "a ledger is rebuilt",
  "an object is deleted",
] as const;
export type RareState = (typeof rareStates)[number];

export class Reached {
  readonly counts = new Map<RareState, number>();
  readonly #owners = new Map<string, string>();

  note(state: RareState): void {
    this.counts.set(state, (this.counts.get(state) ?? 0) + 1);
  }

  /** A write of the ledger. */
  wrote(old: Item | undefined, now: Item | undefined): void {
    const { pk, sk } = (now ?? old) as { pk: string; sk: string };
    if (sk === "STRUCTURE" && now !== undefined) this.#structure(now.state as StructureState);
    if (sk === "ROW") this.#row(now?.row as TenantRow | undefined);
    if (now !== undefined && sk === "SLOT") this.#slot(pk, old, now);
    const point = pointIn(now ?? {});
    if (point !== undefined) this.#point(point);
    if (now !== undefined && sk.startsWith("COPY#")) this.note("a region is marked as behind");
    if (pk === "IGNORED") this.note("a report is ignored");
  }

  #row(row: TenantRow | undefined): void {
    if (row?.state === "Pending") this.note("a tenant waits for room");
    if (row?.blocked !== undefined) this.note("a tenant is refused for another one's name");
    if (row?.reasons.some((reason) => /is above a name|all names below/.test(reason)))
      this.note("a tenant is refused for a name above or below another one's");
  }

  #slot(pk: string, old: Item | undefined, now: Item): void {
    const [owner, before] = [String(now.tenantId), this.#owners.get(pk)];
    this.#owners.set(pk, owner);
    if (before !== undefined && before !== owner) this.note("a slot goes to another tenant");
    if (old?.tombstone !== undefined && now.tombstone === undefined && before === owner)
      this.note("a given-up slot is used by its own tenant again");
  }

  #point(point: Point): void {
    for (const { kind, claim, hold } of holdsOf(point)) {
      if (kind === "below") continue;
      const before = this.#owners.get(claim);
      this.#owners.set(claim, hold.tenantId);
      if (before !== undefined && before !== hold.tenantId) this.note("a name goes to another tenant");
      if (holdsOf(point).some((other) => other.hold.tenantId !== hold.tenantId))
        this.note("tenants of an account share a name's zone");
    }
  }

  #structure({ stage, reason }: StructureState): void {
    if (stage === "done") this.note("a structure reaches every edge");
    if (stage === "returned" && reason !== undefined) this.note("a structure is returned");
  }

  /** An endpoint group after a write. */
  group({ dial, endpoints }: Group): void {
    if (dial === 0) this.note("a region gets no users, because it is degraded");
    for (const { weight } of endpoints.values())
      if (weight === 0) this.note("an edge gets no users, because it is degraded");
  }

  /** A function's failure, by its error's name. */
  failed(fn: FunctionName, name: string): void {
    if (name === "LeaseHeldError")
      this.note(
        fn === "publish-cell" ? "a publisher finds the lease taken" : "a writer finds the accelerator's lease taken",
      );
    if (name === "Lambda.Unknown") this.note("an instance dies in the middle of a call");
  }
}
