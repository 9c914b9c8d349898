import { once } from "node:events";
import { appendFileSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { planClosing } from "../../edge/agent/sessions/closing.ts";
import { advanceDrain, type Drain } from "../../edge/agent/sessions/drain.ts";
import { endedFields, openedFields, openedLine, parseOpened } from "../../edge/agent/sessions/lines.ts";
import { type OrphanFacts, planOrphans } from "../../edge/agent/sessions/orphans.ts";
import { type Live, Sockets, sessionKey, type Upstream } from "../../edge/agent/sessions/sockets.ts";
import { SessionTable } from "../../edge/agent/sessions/table.ts";
import { Tail } from "../../edge/agent/tail.ts";

const quiet: Live = { key: "", received: 0, unread: 0, sent: 0, unsent: 0, isHalfClosed: false };

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

  it("closes them all the same when a client keeps coming, once it has waited for as long as closing takes", () => {
    const leaving: Drain = { phase: "leaving", since: 0 };
    const at = (now: number) => step(leaving, { now, openedAt: now }).state.phase;
    expect([at(159_999), at(160_000)]).toEqual(["leaving", "closing"]);
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
    next.restore([...table.lines(), globex], 5);
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

  const client = (key: string, sent = 0) => ({ ...quiet, key, sent });
  const ofAcme = "1.2.3.4 5000 8443";

  it("knows which sessions' clients the kernel has not listed for a while, by backend, also after a restart", () => {
    const table = new SessionTable();
    open(table, acme, globex);
    table.compare([client(ofAcme)], 1000);
    expect(table.unseen(1000, 1005)).toEqual(new Map([["10.0.0.6:22", ["1.2.3.4 5000 10001"]]]));
    expect(table.unseen(1000, 2000).get("10.0.0.5:3080")).toEqual([ofAcme]);
    const next = new SessionTable();
    next.restore(table.lines(), 3000);
    expect(next.unseen(1000, 3999).size).toBe(0);
    expect(next.unseen(1000, 4000).get("10.0.0.5:3080")).toEqual([ofAcme]);
    next.forget([ofAcme]);
    expect(owners(next)).toEqual([["1 globex", 1]]);
  });

  it("names the backend of a session that got nothing back within a while, once", () => {
    const table = new SessionTable();
    open(table, acme, globex, "7 hooli 10.0.0.7:3080 23 1.2.3.4 5001 8443");
    table.compare([client(ofAcme), client("1.2.3.4 5000 10001"), client("1.2.3.4 5001 8443", 1)], 100);
    expect(table.takeMute(8443, 3000, 3004)).toEqual(new Set());
    expect(table.takeMute(8443, 3000, 3005)).toEqual(new Set(["10.0.0.5:3080"]));
    expect(table.takeMute(8443, 3000, 9000)).toEqual(new Set());
  });

  it.each([
    ["200 500 0 1.5", true, "after a second, with nothing back"],
    ["200 500 0 0.9", false, "at once: its client may not have waited"],
    ["200 500 1 1.5", false, "with a byte back"],
    ["502 0 0 1.5", false, "since no backend took it: that is known already"],
  ])("of sessions that ended (%s), names the backend: %s (%s)", (end, isNamed) => {
    const table = new SessionTable();
    open(table, acme);
    table.ended([`20000 acme 17 ${ofAcme} ${end}`]);
    expect(table.takeMute(8443, 3000, 6)).toEqual(new Set(isNamed ? ["10.0.0.5:3080"] : []));
  });
});

describe("a connection to a backend", () => {
  const backend = "10.0.0.5:3080";
  const upstream = (changes: Partial<Upstream> = {}): Upstream => {
    const seen = { received: 5000, written: 700, quietMs: 60_000, state: "closed" as const };
    return { local: "10.0.0.1:4000", backend, ...seen, ...changes };
  };
  const client = (changes: Partial<Live> = {}): Live => ({ ...quiet, received: 700, sent: 5000, ...changes });
  const times = { suspects: new Map([["10.0.0.1:4000", 0]]), quietMs: 60_000, suspectMs: 10_000, now: 10_000 };
  const isEnded = (upstreams: Upstream[], clients: Live[], changes: Partial<OrphanFacts> = {}) =>
    planOrphans({ ...times, upstreams, clients, ...changes }).ended.length > 0;

  it.each([
    [{ state: "closed" as const }, "that is told that its client sends no more"],
    [{ state: "stalled" as const }, "whose backend does not read"],
  ])("%o ends when no client can be its other end, %s", (changes, _) => {
    expect(isEnded([upstream(changes)], [])).toBe(true);
  });

  it.each([
    [upstream({ state: "open" }), [], "that is open: nothing says that its client has gone"],
    [upstream({ quietMs: 59_999 }), [], "that carried something within the minute"],
    [upstream(), [client({ isHalfClosed: true })], "whose client waits for the backend's answer"],
    [upstream(), [client({ isHalfClosed: true, sent: 100, unsent: 0 })], "whose client has not got all yet"],
    [upstream({ state: "stalled" }), [client({ received: 70_000, unread: 30_000 })], "that waits with its client"],
    [upstream({ state: "stalled", written: 728 }), [client()], "that began with a header of ours"],
  ])("%# goes on: %o %o %s", (one, clients) => {
    expect(isEnded([one], clients)).toBe(false);
  });

  it("ends although other clients of its backend live, when none of them can be its other end", () => {
    const others = [
      client(),
      client({ isHalfClosed: true, sent: 6000 }),
      client({ isHalfClosed: true, sent: 0, received: 9 }),
    ];
    expect(isEnded([upstream({ received: 200_000 })], others)).toBe(true);
    expect(isEnded([upstream({ received: 5000 })], [client()])).toBe(true); // which is not half closed
  });

  it("is suspected first, for as long as the kernel's lists may differ", () => {
    const first = planOrphans({ ...times, suspects: new Map(), upstreams: [upstream()], clients: [] });
    expect(first).toEqual({ ended: [], suspects: new Map([["10.0.0.1:4000", 10_000]]) });
    const later = { ...times, suspects: first.suspects, upstreams: [upstream()], clients: [] };
    expect(planOrphans({ ...later, now: 19_999 }).ended).toEqual([]);
    expect(planOrphans({ ...later, now: 20_000 }).ended).toHaveLength(1);
    const back = planOrphans({ ...later, now: 20_000, clients: [client({ isHalfClosed: true })] });
    expect(back).toEqual({ ended: [], suspects: new Map() });
  });

  it("never ends while its own client is there, whatever else is", () => {
    const end = fc.record({
      received: fc.nat(300_000),
      sent: fc.nat(300_000),
      unread: fc.nat(3000),
      unsent: fc.nat(3000),
    });
    fc.assert(
      fc.property(fc.array(end, { minLength: 1 }), fc.array(fc.nat(300_000)), fc.boolean(), (ends, gone, isClosed) => {
        const state = isClosed ? ("closed" as const) : ("stalled" as const);
        const clients = ends.map((one) =>
          client({ ...one, unread: Math.min(one.unread, one.received), isHalfClosed: isClosed }),
        );
        const theirs = clients.map((one, index) =>
          upstream({
            local: `10.0.0.1:${index}`,
            state,
            received: one.sent + one.unsent + (index % 3) * 16_384, // some of it waits in nginx
            written: Math.max(0, one.received - one.unread - (index % 2) * 16_384),
          }),
        );
        const orphans = gone.map((bytes, index) =>
          upstream({ local: `10.0.0.1:${5000 + index}`, state, received: bytes, written: bytes }),
        );
        const suspects = new Map([...theirs, ...orphans].map(({ local }) => [local, 0]));
        const { ended } = planOrphans({ ...times, suspects, clients, upstreams: [...theirs, ...orphans] });
        for (const one of theirs) expect(ended).not.toContain(one);
      }),
    );
  });
});

describe("a session's lines", () => {
  const structure = (file: string) =>
    readFileSync(path.join(import.meta.dirname, "../../edge/structure", file), "utf8");

  it("have the fields that the router writes", () => {
    const [, written = ""] = /"\.\.\/sessions\/opened",\s*([^;]*?),?\s*\);/.exec(structure("router.js")) ?? [];
    const names: Record<string, string[]> = {
      owner: ["slot", "tenantId"],
      backend: ["backend"],
      "v.connection": ["connection"],
      "v.remote_addr": ["address"],
      "v.remote_port": ["port"],
      "v.edge_port": ["serverPort"],
      '"\\n"': [],
    };
    const parts = written.split(" + ").filter((part) => part !== '" "');
    expect(parts.flatMap((part) => names[part] ?? [`unknown: ${part}`])).toEqual(openedFields);
  });

  it("have the fields that nginx writes", () => {
    const [, format = ""] = /log_format ended '(.*)';/.exec(structure("nginx.conf")) ?? [];
    const names: Record<string, string[]> = {
      $owner: ["slot", "tenantId"],
      $connection: ["connection"],
      $remote_addr: ["address"],
      $remote_port: ["port"],
      $edge_port: ["serverPort"],
      $status: ["status"],
      $upstream_bytes_sent: ["received"],
      $bytes_sent: ["sent"],
      $session_time: ["seconds"],
    };
    expect(format.split(" ").flatMap((variable) => names[variable] ?? [`unknown: ${variable}`])).toEqual(endedFields);
  });

  it("come back as they were written", () => {
    const line = "20000 acme 10.0.0.5:3080 17 1.2.3.4 5000 8443";
    expect(openedLine(parseOpened(line)!)).toBe(line);
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
