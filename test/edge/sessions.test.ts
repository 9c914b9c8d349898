import { once } from "node:events";
import { appendFileSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { planClosing } from "../../edge/agent/sessions/closing.ts";
import { advanceDrain, type Drain } from "../../edge/agent/sessions/drain.ts";
import { Sockets, sessionKey } from "../../edge/agent/sessions/sockets.ts";
import { SessionTable } from "../../edge/agent/sessions/table.ts";
import { Tail } from "../../edge/agent/sessions/tail.ts";

describe("planClosing", () => {
  const plan = (before: Map<string, number>, open: string[], served: string[], now: number) =>
    planClosing(before, { open, serves: (owner) => served.includes(owner), graceMs: 300, now });

  it("keeps sessions of a removed route for the grace period, then names their owner", () => {
    const first = plan(new Map(), ["a", "b"], ["b"], 1000);
    expect(first).toEqual({ closing: new Map([["a", 1000]]), due: [] });
    expect(plan(first.closing, ["a", "b"], ["b"], 1299).due).toEqual([]);
    expect(plan(first.closing, ["a", "b"], ["b"], 1300).due).toEqual(["a"]);
  });

  it("forgets an owner that is served again, and restarts its grace period if it is removed again", () => {
    const back = plan(new Map([["a", 1000]]), ["a"], ["a"], 1200);
    expect(back.closing.size).toBe(0);
    expect(plan(back.closing, ["a"], [], 5000)).toEqual({ closing: new Map([["a", 5000]]), due: [] });
  });

  it("never names an owner that is served", () => {
    const names = fc.constantFrom("a", "b", "c", "d");
    fc.assert(
      fc.property(fc.array(names), fc.array(names), fc.array(fc.nat(2000)), (open, served, times) => {
        let closing = new Map<string, number>();
        for (const now of times.toSorted((x, y) => x - y)) {
          const next = plan(closing, open, served, now);
          for (const owner of next.due) expect(served).not.toContain(owner);
          closing = next.closing;
        }
      }),
    );
  });
});

describe("advanceDrain", () => {
  const facts = { asked: true, sessions: 100, openedAt: 0, quietMs: 60_000, closeMs: 100_000, now: 0 };
  const step = (state: Drain, changes: Partial<typeof facts>) => advanceDrain(state, { ...facts, ...changes });

  it("does nothing without a request, and stops when the request is withdrawn", () => {
    expect(step({ phase: "none" }, { asked: false }).state).toEqual({ phase: "none" });
    expect(step({ phase: "closing", since: 0, sessions: 5 }, { asked: false })).toEqual({
      state: { phase: "none" },
      close: 0,
    });
  });

  it("closes no session until a minute has passed without a new one", () => {
    const leaving = step({ phase: "none" }, { now: 1000 }).state;
    expect(leaving).toEqual({ phase: "leaving", since: 1000 });
    expect(step(leaving, { now: 60_999 }).state).toEqual(leaving);
    expect(step(leaving, { now: 70_000, openedAt: 50_000 }).state).toEqual(leaving);
    expect(step(leaving, { now: 110_000, openedAt: 50_000 })).toEqual({
      state: { phase: "closing", since: 110_000, sessions: 100 },
      close: 0,
    });
  });

  it("closes sessions at an even pace, and all that remain at the end", () => {
    const closing: Drain = { phase: "closing", since: 0, sessions: 100 };
    const closed = (now: number, sessions: number) => step(closing, { now, sessions }).close;
    expect([closed(0, 100), closed(25_000, 100), closed(25_000, 75), closed(100_000, 40)]).toEqual([0, 25, 0, 40]);
  });

  it("counts sessions that end by themselves", () => {
    expect(step({ phase: "closing", since: 0, sessions: 100 }, { now: 50_000, sessions: 30 }).close).toBe(0);
  });

  it("is done when no session is left, and closes any that opens later", () => {
    const drained = step({ phase: "closing", since: 0, sessions: 100 }, { now: 5000, sessions: 0 }).state;
    expect(drained).toEqual({ phase: "drained", since: 5000 });
    expect(step(drained, { now: 9000, sessions: 2 })).toEqual({ state: drained, close: 2 });
  });

  it("always ends once no new session opens", () => {
    fc.assert(
      fc.property(fc.nat(1000), fc.nat(120_000), (sessions, openedAt) => {
        let state: Drain = { phase: "none" };
        let left = sessions;
        for (let now = 0; now <= 400_000 && state.phase !== "drained"; now += 1000) {
          const next = advanceDrain(state, { ...facts, sessions: left, openedAt: Math.min(now, openedAt), now });
          expect(next.close).toBeLessThanOrEqual(left);
          state = next.state;
          left -= next.close;
        }
        expect(state.phase).toBe("drained");
      }),
    );
  });
});

describe("SessionTable", () => {
  const open = (table: SessionTable, ...lines: string[]) => table.opened(lines, 5);
  const acme = "20000 acme 10.0.0.5:3080 17 1.2.3.4 5000 8443";
  const globex = "1 globex 10.0.0.6:22 19 1.2.3.4 5000 10001";
  const owners = (table: SessionTable) => [...table.counts()].sort();

  it("knows each session's owner, the chosen backends, and the bytes carried once it ended", () => {
    const table = new SessionTable();
    expect(open(table, acme, globex)).toEqual(new Set(["10.0.0.5:3080", "10.0.0.6:22"]));
    expect(table.ownerOf("1.2.3.4 5000 8443")).toEqual({ slot: 20000, tenantId: "acme" });
    expect(table.ownerOf("1.2.3.4 5000 10001")).toEqual({ slot: 1, tenantId: "globex" });
    table.ended(["20000 acme 17 1.2.3.4 5000 8443 200 300 4000 1.5"]);
    expect(table.ownerOf("1.2.3.4 5000 8443")).toBeUndefined();
    expect(table.keysOf(["1 globex", "20000 acme"])).toEqual(
      new Map([
        ["1 globex", ["1.2.3.4 5000 10001"]],
        ["20000 acme", []],
      ]),
    );
    expect(new Map(table.carried()).get("acme")).toEqual({ opened: 1, ended: 1, failed: 0, received: 300, sent: 4000 });
  });

  it("handles a client that reconnects from the same port before the first session's last line", () => {
    const table = new SessionTable();
    open(table, acme, "20000 acme 10.0.0.5:3080 21 1.2.3.4 5000 8443");
    table.ended(["20000 acme 17 1.2.3.4 5000 8443 200 1 1 0.1"]);
    expect(owners(table)).toEqual([["20000 acme", 1]]);
    expect(new Map(table.carried()).get("acme")).toMatchObject({ opened: 2, ended: 1 });
    table.ended(["20000 acme 21 1.2.3.4 5000 8443 502 0 0 0.1"]);
    expect(owners(table)).toEqual([]);
    expect(new Map(table.carried()).get("acme")).toMatchObject({ ended: 2, failed: 1 });
  });

  it("skips invalid lines", () => {
    const table = new SessionTable();
    expect(open(table, "", "x", "20000 acme 10.0.0.5:3080 17 1.2.3.4", `${acme} more`)).toEqual(new Set());
    table.ended(["", "1.2.3.4 5000", "x y z"]);
    expect(owners(table)).toEqual([]);
  });

  it("restores from its own lines and from unread ones, without counting them again", () => {
    const table = new SessionTable();
    open(table, acme);
    const next = new SessionTable();
    next.restore([...table.lines(), globex]);
    expect(owners(next)).toEqual([
      ["1 globex", 1],
      ["20000 acme", 1],
    ]);
    expect(next.carried().map(([tenant, { opened }]) => [tenant, opened])).toEqual([
      ["acme", 0],
      ["globex", 0],
    ]);
    expect(next.openedAt).toBe(0);
  });

  it("forgets a session that the kernel did not list in three checks in a row", () => {
    const table = new SessionTable();
    open(table, acme);
    const live = { key: "1.2.3.4 5000 8443", received: 0, sent: 0 };
    for (const seen of [[], [], [live], [], []]) table.compare(seen);
    expect(owners(table)).toEqual([["20000 acme", 1]]);
    table.compare([]);
    expect(owners(table)).toEqual([]);
  });
});

describe("Tail", () => {
  let file: string;
  beforeEach(() => {
    file = path.join(mkdtempSync(path.join(os.tmpdir(), "landfall-tail-")), "log");
  });
  afterEach(() => rmSync(path.dirname(file), { recursive: true, force: true }));

  it("returns each line once, and a partial line only when it is complete", () => {
    const tail = new Tail(file, "start");
    expect(tail.read()).toEqual([]);
    writeFileSync(file, "one\ntw");
    expect(tail.read()).toEqual(["one"]);
    appendFileSync(file, "o\nthree\n");
    expect([tail.read(), tail.read()]).toEqual([["two", "three"], []]);
    tail.close();
  });

  it("starts at the end if asked", () => {
    writeFileSync(file, "old\n");
    const tail = new Tail(file, "end");
    appendFileSync(file, "new\n");
    expect(tail.read()).toEqual(["new"]);
    tail.close();
  });

  it("loses no line when the file is replaced, nor one written to the old file a moment later", () => {
    writeFileSync(file, "a\n");
    const tail = new Tail(file, "start");
    renameSync(file, `${file}.1`);
    writeFileSync(file, "c\n");
    tail.replaced();
    appendFileSync(`${file}.1`, "b\n");
    expect(tail.read()).toEqual(["a", "b", "c"]);
    tail.close();
  });
});

describe("Sockets", () => {
  it("counts each side's bytes, not its FIN, while a connection is half closed", async () => {
    const served: net.Socket[] = [];
    const server = net.createServer({ allowHalfOpen: true }, (socket) => served.push(socket.resume()));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as net.AddressInfo;
    const open = async () => {
      const client = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true }).resume();
      const [socket] = (await once(server, "connection")) as [net.Socket];
      client.write("hello");
      socket.write("hi");
      return { client, socket };
    };
    const [theirs, ours] = [await open(), await open()];
    theirs.client.end();
    ours.socket.end();
    await Promise.all([once(theirs.socket, "end"), once(ours.client, "end")]);
    const live = await new Sockets("127.0.0.1", ["ss"]).live({ tls: port, first: port, last: port }, { bytes: true });
    const bytesOf = ({ client }: { client: net.Socket }) =>
      live.find(({ key }) => key === sessionKey("127.0.0.1", client.localPort!, port));
    expect(bytesOf(theirs)).toMatchObject({ received: 5, sent: 2 });
    expect(bytesOf(ours)).toMatchObject({ received: 5, sent: 2 });
    for (const socket of [theirs.client, ours.client, ...served]) socket.destroy();
    server.close();
  });
});
