/** This edge's sessions and their owners. Closes the sessions of removed routes, and all sessions in a drain. */
import { existsSync, linkSync, mkdirSync, rmSync } from "node:fs";
import path from "node:path";
import type { EdgeReport } from "../../../schemas/report.ts";
import { clock } from "../clock.ts";
import { writeAtomically, writeShared } from "../files.ts";
import { readLines, Tail } from "../tail.ts";
import { type Closing, planClosing } from "./closing.ts";
import { advanceDrain, type Drain } from "./drain.ts";
import { planOrphans } from "./orphans.ts";
import { Refusals } from "./refusals.ts";
import { isBackend, type Live, type Ports, type Sockets, type Upstream } from "./sockets.ts";
import { ownerOf, SessionTable } from "./table.ts";

/** What the sessions need to know about routes. */
export interface RouteOwners {
  serves(slot: number, tenantId: string): boolean;
  servesTenant(tenantId: string): boolean;
}

/** Where the sessions read what nginx says of those that ended. */
export interface Ended {
  readEnded(): string[];
}

export interface SessionTimes {
  graceSeconds: number;
  quietSeconds: number;
  closeSeconds: number;
  goneSeconds: number;
}

const openedMax = 1024 * 1024;
/**
 * Pause between looks at the kernel's lists: with very many sessions it grows, so that they take this share of the time, but
 * there are always so many looks until a client counts as gone.
 */
const lookEveryMs = 2500;
const lookShare = 0.02;
const looksUntilGone = 9;
/** A client of TLS that got no byte back for so long makes its backend suspect. */
const muteMs = 3000;
/** How long a closed tenant stays in the report. */
const showMs = 60_000;
/** What nginx writes instead of a session's line when a source has too many connections (edge/structure/nginx.conf). */
const limited = "limit";
/** Pause before sessions that did not close are tried again. */
const againMs = 10_000;

export class Sessions {
  readonly table = new SessionTable();
  readonly refusals: Refusals;
  readonly #dir: string;
  readonly #group: number | undefined;
  readonly #sockets: Sockets;
  readonly #routes: RouteOwners;
  readonly #logs: Ended;
  readonly #opened: Tail;
  #restored = false;
  #lookAt = 0;
  /** Connections to backends that seem to have lost their client, by nginx's end, and since when. */
  #suspects: ReadonlyMap<string, number> = new Map();
  /** Sessions whose client has gone, and which nginx still holds. */
  orphans = 0;
  #closing: Closing = new Map();
  readonly #closed = new Map<string, { at: number; sessions: number; left: number }>();
  #drain: Drain = { phase: "none" };
  /** Open client connections at the last count during a drain. */
  #open = 0;
  readonly closedBy = { removed: 0, drain: 0, orphaned: 0 };

  constructor(runDir: string, group: number | undefined, sockets: Sockets, routes: RouteOwners, logs: Ended) {
    this.#dir = path.join(runDir, "sessions");
    this.#group = group;
    this.#sockets = sockets;
    this.#routes = routes;
    this.#logs = logs;
    mkdirSync(this.#dir, { recursive: true, mode: 0o755 });
    if (!existsSync(this.#file("opened"))) writeShared(this.#file("opened"), group);
    this.refusals = new Refusals(runDir, group);
    this.#opened = new Tail(this.#file("opened"), "start");
  }

  get drain(): Drain {
    return this.#drain;
  }

  #file = (name: string) => path.join(this.#dir, name);

  /**
   * Reads the lines that were written since the last call.
   * @returns the backends that users were sent to
   */
  read(now: number): Set<string> {
    if (!this.#restored) this.#restore(now);
    const ended = this.#logs.readEnded(); // read first, so that the opening of each ended session is read too
    const backends = this.table.opened(this.#opened.read(), now);
    this.table.ended(ended);
    for (const line of ended) if (line === limited) this.refusals.note("limit", "-", now);
    this.refusals.read(now);
    if (this.#opened.size > openedMax) this.#rotateOpened();
    return backends;
  }

  /** Restores the sessions that an earlier run knew, and those that it had not read yet. */
  #restore(now: number): void {
    this.#restored = true;
    for (const known of [readLines(this.#file("known")), readLines(this.#file("opened.1")), this.#opened.read()])
      this.table.restore(known, now);
    this.#save(); // opened.1 may be deleted before the next save
  }

  #save(): void {
    writeAtomically(
      this.#file("known"),
      this.table
        .lines()
        .map((line) => `${line}\n`)
        .join(""),
    );
  }

  /** The files on disk contain every session at every moment: an agent that is killed here finds them again. */
  #rotateOpened(): void {
    rmSync(this.#file("opened.1"), { force: true });
    linkSync(this.#file("opened"), this.#file("opened.1"));
    writeShared(this.#file("opened"), this.#group);
    this.#opened.replaced();
    this.table.opened(this.#opened.read(), this.table.openedAt);
    this.#save();
  }

  /**
   * Once a second: closes sessions that must end.
   * @returns backends from which a client of TLS got nothing back
   */
  async tend(ports: Ports, times: SessionTimes, drainAsked: boolean, now: number): Promise<Set<string>> {
    await this.#tendDrain(ports, times, drainAsked, now);
    await this.#closeRemoved(ports, times.graceSeconds * 1000, now);
    if (now < this.#lookAt) return new Set();
    const started = clock();
    const live = await this.#sockets.live(ports, { bytes: true });
    this.table.compare(live, now);
    await this.#endOrphans(live, times.goneSeconds * 1000, now);
    this.table.prune((tenantId) => this.#routes.servesTenant(tenantId));
    const pause = Math.max(lookEveryMs, (clock() - started) / lookShare);
    this.#lookAt = now + Math.min(pause, (times.goneSeconds * 1000) / looksUntilGone);
    return this.table.takeMute(ports.tls, muteMs, now);
  }

  /** Ends the sessions that nginx holds though their client has gone. */
  async #endOrphans(live: Live[], goneMs: number, now: number): Promise<void> {
    const aLookMs = goneMs / looksUntilGone;
    const unseen = this.table.unseen(aLookMs, now);
    for (const [backend, keys] of unseen) {
      if (isBackend(backend)) continue;
      this.table.forget(keys); // of an older agent, or no line of the router's
      unseen.delete(backend);
    }
    this.orphans = 0;
    if (unseen.size === 0) {
      this.#suspects = new Map();
      return;
    }
    const clients = Map.groupBy(live, ({ key }) => this.table.backendOf(key));
    const backends = [...unseen.keys()];
    const upstreams = Map.groupBy(await this.#sockets.upstreams(backends), ({ backend }) => backend);
    const ended: Upstream[] = [];
    const suspects = new Map<string, number>();
    for (const [backend, keys] of unseen) {
      const known = clients.get(backend) ?? [];
      const its = upstreams.get(backend) ?? [];
      if (its.length <= known.length) {
        // No connection is without a client: these sessions ended, and their last lines may have been lost.
        this.table.forget(keys.filter((key) => now - this.table.seenAt(key) >= goneMs / 3));
        continue;
      }
      this.orphans += keys.length;
      const plan = planOrphans({
        clients: [...known, ...(clients.get(undefined) ?? [])],
        upstreams: its,
        suspects: this.#suspects,
        quietMs: (goneMs * 2) / 3,
        suspectMs: aLookMs,
        now,
      });
      ended.push(...plan.ended);
      for (const [local, since] of plan.suspects) suspects.set(local, since);
    }
    this.#suspects = suspects;
    if (ended.length === 0) return;
    await this.#sockets.endUpstreams(ended);
    const left = new Set((await this.#sockets.upstreams(backends)).map(({ local }) => local));
    this.closedBy.orphaned += ended.filter(({ local }) => !left.has(local)).length;
  }

  async #closeRemoved(ports: Ports, graceMs: number, now: number): Promise<void> {
    const serves = (key: string) => this.#routes.serves(ownerOf(key).slot, ownerOf(key).tenantId);
    const { closing, due } = planClosing(this.#closing, { open: this.table.counts().keys(), serves, graceMs, now });
    this.#closing = closing;
    for (const [owner, { at }] of this.#closed)
      if (now - at > showMs && !closing.has(owner)) this.#closed.delete(owner);
    const ready = due.filter((owner) => now - (this.#closed.get(owner)?.at ?? 0) >= againMs);
    if (ready.length === 0) return;
    const keys = this.table.keysOf(ready);
    const { ended, left } = await this.#end([...keys.values()].flat(), ports);
    this.closedBy.removed += ended.size;
    for (const [owner, its] of keys) {
      const sessions = (this.#closed.get(owner)?.sessions ?? 0) + its.filter((key) => ended.has(key)).length;
      this.#closed.set(owner, { at: now, sessions, left: its.filter((key) => left.has(key)).length });
    }
  }

  async #tendDrain(ports: Ports, times: SessionTimes, asked: boolean, now: number): Promise<void> {
    if (!asked && this.#drain.phase === "none") return;
    const keys = await this.#keysOf(ports, now);
    this.#open = keys.length;
    const facts = {
      asked,
      sessions: keys.length,
      openedAt: this.table.openedAt,
      quietMs: times.quietSeconds * 1000,
      closeMs: times.closeSeconds * 1000,
      now,
    };
    const { state, close } = advanceDrain(this.#drain, facts);
    this.#drain = state;
    if (close === 0) return;
    const { ended } = await this.#end(keys.slice(0, close), ports);
    this.closedBy.drain += ended.size;
    this.#open -= ended.size;
  }

  /**
   * The open connections. A drain begins even if they can't be listed; if they can, it begins once they are counted, so
   * that its first report counts them.
   */
  async #keysOf(ports: Ports, now: number): Promise<string[]> {
    try {
      return (await this.#sockets.live(ports)).map(({ key }) => key);
    } catch (error) {
      if (this.#drain.phase === "none") this.#drain = { phase: "leaving", since: now };
      throw error;
    }
  }

  /** Ends these sessions if they are open, then checks which are gone. */
  async #end(keys: string[], ports: Ports): Promise<{ ended: Set<string>; left: Set<string> }> {
    const open = await this.#openOf(new Set(keys), ports);
    await this.#sockets.end([...open]);
    const left = await this.#openOf(open, ports);
    return { ended: new Set([...open].filter((key) => !left.has(key))), left };
  }

  async #openOf(keys: Set<string>, ports: Ports): Promise<Set<string>> {
    const live = await this.#sockets.live(ports);
    return new Set(live.flatMap(({ key }) => (keys.has(key) ? [key] : [])));
  }

  /** For the edge's report: owners whose sessions wait to be closed or were closed lately, and the drain's state. */
  report(graceMs: number): Pick<EdgeReport, "closing" | "drain"> {
    const owners = [...new Set([...this.#closing.keys(), ...this.#closed.keys()])].sort();
    const counts = owners.length === 0 ? new Map<string, number>() : this.table.counts();
    const closing = owners.map((owner) => {
      const closed = this.#closed.get(owner);
      const since = this.#closing.get(owner) ?? (closed?.at ?? 0) - graceMs;
      return {
        ...ownerOf(owner),
        open: closed?.left ?? counts.get(owner) ?? 0,
        closesAt: since + graceMs,
        closed: closed?.sessions ?? 0,
        ...(closed?.left ? { fault: `${closed.left} can't be closed: the agent needs CAP_NET_ADMIN` } : {}),
      };
    });
    const drain = this.#drain;
    return {
      ...(closing.length === 0 ? {} : { closing }),
      ...(drain.phase === "none" ? {} : { drain: { phase: drain.phase, since: drain.since, sessions: this.#open } }),
    };
  }
}
