/** Checks the laws at each write of the ledger and each event of a simulated control plane. */

import { keys } from "../../aws/ledger/keys.ts";
import { absent, type TenantRow } from "../../core/admission/tenant-row.ts";
import { canonicalJson } from "../../core/canonical.ts";
import { type EdgeSummary, summaryItemOf } from "../../core/edges/edge.ts";
import { detailTypes, EdgeReadiness } from "../../schemas/events.ts";
import { sha256 } from "../../schemas/signed.ts";
import type { Item } from "./expressions.ts";
import {
  Breach,
  Readiness,
  summariesIn,
  type Watched,
  watchCommit,
  watchEdges,
  watchPoint,
  watchServed,
} from "./laws.ts";

/** Settings are at most 5 s old, and an invocation of publish-cell lasts at most 60 s. */
export const frozenMs = 65_000;

export interface WatchPorts extends Watched {
  /** Every version of a tenant's record, oldest first; undefined where it was deleted. */
  versions: (tenantId: string) => (object | undefined)[];
  /** Virtual milliseconds. */
  now: () => number;
}

export class Watch {
  readonly readiness = new Readiness();
  /** Since when the fleet is frozen. */
  frozenFrom: number | undefined;
  /** Tenants with a route in the ledger that another program wrote. */
  readonly altered = new Set<string>();
  /** The ledger was restored and is not rebuilt yet: only what edges serve is checked. */
  #isRestored = false;
  readonly #ports: WatchPorts;
  /** Which version of its record each row has. */
  readonly #rowAt = new Map<string, number>();

  constructor(ports: WatchPorts) {
    this.#ports = ports;
  }

  /** The ledger is as it was earlier. */
  restored(): void {
    this.#isRestored = true;
  }

  /** @throws Breach */
  rebuilt(edges: EdgeSummary[]): void {
    this.#isRestored = false;
    this.#rowAt.clear();
    this.readiness.restored(edges);
    this.served();
  }

  /** @throws Breach */
  wrote(old: Item | undefined, now: Item | undefined): void {
    if (this.#isRestored) return this.served();
    const { sk } = (now ?? old) as { sk: string };
    if (sk === "COMMIT") this.#commit(old, now);
    if (sk === "EDGES") for (const edge of summariesIn(now)) this.#edge(edge);
    if (sk.startsWith("WITHHELD#") && now !== undefined) this.#refused(now);
    if (sk === "ROW") this.#row(now?.row as TenantRow | undefined);
    if (sk === "NAME") watchPoint(now);
    if (sk === "SLOT" || sk === "NAME") this.served();
  }

  /** @throws Breach */
  served(): void {
    if (this.#isRestored) watchEdges(this.#ports);
    else watchServed(this.#ports);
  }

  /** @throws Breach */
  announced(detailType: string, detail: unknown): void {
    if (detailType !== detailTypes.edgeReadiness || this.#isRestored) return;
    const event = EdgeReadiness.parse(detail);
    const edges = summariesIn(this.#ports.ledger(keys.edges(event.cell, summaryItemOf(event.edgeId)).pk, "EDGES"));
    this.readiness.announced(
      event,
      edges.find(({ edgeId }) => edgeId === event.edgeId),
    );
  }

  #refused({ withheld }: Item): void {
    const { tenants } = withheld as { tenants: { tenantId: string }[] };
    if (tenants.length === 0 || tenants.some(({ tenantId }) => !this.altered.has(tenantId)))
      throw new Breach(`law 4: the gate refused ${canonicalJson(withheld)}`);
  }

  #commit(old: Item | undefined, now: Item | undefined): void {
    if (this.frozenFrom !== undefined && this.#ports.now() - this.frozenFrom > frozenMs)
      throw new Breach("law 7: a commit of a frozen fleet");
    watchCommit(old, now, this.#ports);
  }

  /** Law 11: whatever an edge says, it serves no generation that was never committed. */
  #edge(edge: EdgeSummary): void {
    const commit = this.#ports.ledger(`CELL#${edge.cell}`, "COMMIT")?.commit as { generation: number } | undefined;
    if (edge.appliedGeneration > (commit?.generation ?? 0))
      throw new Breach(`law 11: ${edge.edgeId} is taken to serve generation ${edge.appliedGeneration}`);
    this.readiness.wrote(edge);
  }

  /** Laws 7 and 10: however late or often a handler runs, a row never goes back to an older record, or to none. */
  #row(row: TenantRow | undefined): void {
    if (row === undefined) throw new Breach("law 7: a row was deleted");
    const broken = row.reasons.find((reason) => reason.includes("LawBrokenError"));
    if (broken !== undefined) throw new Breach(`law 7: ${broken}`);
    if (row.reasons.some((reason) => reason.includes("failed to process it")))
      throw new Breach(`law 10: ${row.tenantId} is ${row.state}: ${row.reasons.join(", ")}`);
    const at = this.#ports.versions(row.tenantId).findLastIndex((image) => hashOf(image) === row.hash);
    const before = this.#rowAt.get(row.tenantId) ?? -1;
    if (at < before)
      throw new Breach(
        row.hash === absent
          ? `law 10: the row of ${row.tenantId} is removed, and its record is not`
          : `law 7: the row of ${row.tenantId} goes back from its record's version ${before} to ${at}`,
      );
    this.#rowAt.set(row.tenantId, Math.max(at, before));
  }
}

const hashOf = (image: object | undefined) => (image === undefined ? absent : sha256(canonicalJson(image)));
