/** A real agent and a real nginx on one address, with a region that the test controls. */
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import type net from "node:net";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { bucketOf } from "../../core/routes/buckets.ts";
import type { LocalEdge } from "../../local/edges/edge.ts";
import { structureOn } from "../../local/edges/standalone.ts";
import { Dns } from "../../local/network/dns.ts";
import { kill } from "../../local/processes.ts";
import type { EdgeReport } from "../../schemas/report.ts";
import { clientHello } from "../fixtures/client-hello.ts";
import { Region, rawRoute, removeDir, tlsRoute } from "../fixtures/region.ts";
import { type Backend, connect, firstAnswer, freePort, startBackend, visit } from "../fixtures/sockets.ts";
import { eventually } from "../local/harness.ts";

const address = `127.98.${(process.pid % 250) + 1}.1`;
const tls = 8443;
const slotPort = (slot: number) => 10_000 + slot;
const structure = {
  ...structureOn({ edgeTlsPort: tls, portBase: 10_000, portCount: 20 }),
  healthPort: 8080,
  sessions: { graceSeconds: 1, quietSeconds: 1, closeSeconds: 2, goneSeconds: 90 },
};

let dir: string;
let region: Region;
let edge: LocalEdge;
let a: Backend;
let b: Backend;

beforeEach(async () => {
  dir = mkdtempSync(path.join(os.tmpdir(), "landfall-agent-"));
  chmodSync(dir, 0o755);
  [region, a, b] = await Promise.all([Region.start(structure), startBackend("A"), startBackend("B")]);
});
afterEach(async () => {
  await edge?.stop();
  await region.stop();
  a.close();
  b.close();
  removeDir(dir);
});

const start = async (changes: Parameters<Region["edge"]>[2] = {}) => {
  edge = await region.edge(dir, address, changes);
  edge.start();
};
const workers = () => readFileSync(`/proc/${edge.pid}/task/${edge.pid}/children`, "utf8").trim();
/** Kills the agent with SIGKILL, and waits for a new one. */
const killAgent = async () => {
  const pid = edge.agentPid!;
  kill(pid);
  await eventually(
    () => edge.agentPid,
    (now) => now !== undefined && now !== pid,
  );
};
const reported = (holds: (report: EdgeReport) => boolean, withinMs = 10_000) =>
  eventually(
    () => region.reports.at(-1),
    (report) => report !== undefined && holds(report),
    withinMs,
  );
/** Waits until the edge serves the generation, by default the last published one, and is healthy. */
const applied = async (generation = region.generation) => {
  const report = await reported(({ appliedGeneration, serving }) => appliedGeneration >= generation && serving);
  await eventually(health, (status) => status === 200);
  return report;
};
const hello = (name: string) => visit(clientHello({ name }), { port: tls, host: address });
/** The status of the health check; 0 without an answer. */
const health = async () => {
  try {
    return (await fetch(`http://${address}:8080/healthz`)).status;
  } catch {
    return 0;
  }
};
const metrics = async () => (await fetch(`http://${address}:8080/metrics`)).text();
const value = (text: string, metric: string, ...labels: string[]) => {
  const line = text.split("\n").find((one) => one.startsWith(metric) && labels.every((label) => one.includes(label)));
  return line === undefined ? undefined : Number(line.slice(line.lastIndexOf(" ") + 1));
};
const open = async (bytes: Uint8Array, port = tls): Promise<net.Socket> => {
  const socket = connect({ port, host: address });
  socket.write(bytes);
  await firstAnswer(socket);
  return socket;
};
const echoes = async (socket: net.Socket) => {
  if (!socket.destroyed) socket.write("key");
  return (await firstAnswer(socket, 1000)) === "key";
};

describe("an edge", () => {
  it("boots and serves from its disk while AWS is unreachable, and applies changes once AWS is back", async () => {
    region.publish([tlsRoute(20000, "acme", "a.example.com", a.address)]);
    await start();
    await applied();
    await edge.stop();
    region.trouble = "refuses";
    edge.start();
    await eventually(
      () => hello("a.example.com").catch(() => ""),
      (answer) => answer === "A",
    );
    await eventually(health, (status) => status === 200);
    region.trouble = undefined;
    region.publish([tlsRoute(20000, "acme", "a.example.com", b.address)]);
    await applied();
    expect(await hello("a.example.com")).toBe("B");
  });

  it("serves a bucket that is divided, and reads only what a change moves", async () => {
    const ids = [...Array(60_000).keys()].map((index) => `tenant-${index}`).filter((id) => bucketOf(id) === 0);
    const routes = ids.slice(0, 500).map((id, slot) => tlsRoute(20_000 + slot, id, `${id}.example.com`, a.address));
    region.publish(routes.slice(0, 100));
    await start();
    await applied();
    const names = () => readdirSync(path.join(dir, "run/routes/n")).length;
    expect(names()).toBe(100);
    for (const count of [500, 499, 100, 500]) {
      region.publish(routes.slice(0, count));
      await applied();
      expect(names()).toBe(count);
    }
    region.asked.length = 0;
    region.publish(routes.with(250, { ...routes[250]!, generation: 2, backends: { "us-west-2": [b.address] } }));
    await applied();
    expect(await hello(`${ids[250]}.example.com`)).toBe("B");
    expect(await hello(`${ids[251]}.example.com`)).toBe("A");
    expect(region.asked).toHaveLength(3); // the manifest, the branch and the leaf
    expect(readdirSync(path.join(dir, "state/objects")).length).toBeLessThan(45); // of 500 tenants' leaves; older ones are gone
  });

  it("writes a backend's health as soon as it can, when it could not at first", async () => {
    region.publish([tlsRoute(20000, "acme", "a.example.com", a.address, b.address)]);
    await start();
    await applied();
    const names = path.join(dir, "run/routes/n");
    const route = () => readFileSync(path.join(dir, "run/routes/n/a.example.com"), "utf8");
    for (let i = 0; i < 20; i++) await hello("a.example.com"); // both are checked every second from now on
    renameSync(names, path.join(dir, "away"));
    a.close();
    const down = () => metrics().then((text) => value(text, "landfall_backends", 'health="down"'));
    await eventually(down, (count) => count === 1);
    renameSync(path.join(dir, "away"), names);
    await eventually(route, (text) => text.includes(`-${a.address}`));
  });

  it("asks for fewer users when nine of ten sessions that it can carry are open, and stays healthy", async () => {
    region.publish([tlsRoute(20000, "acme", "a.example.com", a.address)]);
    await start({ nginx: { ...region.settings.nginx, connections: 512 } });
    await applied();
    const capacity = value(await metrics(), "landfall_sessions_capacity")!;
    const each = Math.ceil((0.92 * capacity) / 4);
    const open = (last: number) =>
      Array.from({ length: each }, async () => {
        const socket = connect({ port: tls, host: address, from: `127.0.8.${last}` });
        socket.write(clientHello({ name: "a.example.com" }));
        await firstAnswer(socket);
        return socket;
      });
    const sockets = await Promise.all([1, 2, 3, 4].flatMap(open));
    await reported(({ fullness }) => fullness === "tight");
    expect(await health()).toBe(200);
    expect(value(await metrics(), "landfall_use_ratio", 'of="sessions"')).toBeCloseTo((4 * each) / capacity, 2);
    for (const socket of sockets.slice(0, Math.ceil(0.2 * capacity))) socket.destroy();
    await reported(({ fullness }) => fullness === undefined);
    for (const socket of sockets) socket.destroy();
  });

  it("serves the addresses of a backend's DNS name, and the new ones ten seconds after they change", async () => {
    const port = Number(a.address.split(":")[1]);
    const [dns, moved] = await Promise.all([Dns.start("127.0.0.1"), startBackend("B", "127.98.0.2", port)]);
    try {
      const name = "nlb.example.com";
      dns.set({ name, type: "A", values: ["127.0.0.1", address, "192.0.2.1"] }); // an edge is no backend of its own
      region.nameServer = dns.server;
      region.publish([tlsRoute(20000, "acme", "a.example.com", `${name}:${port}`)]);
      await start();
      await applied();
      const route = () => readFileSync(path.join(dir, "run/routes/n/a.example.com"), "utf8");
      expect(route()).toBe(`20000 acme\n+127.0.0.1:${port}\n`);
      expect(await hello("a.example.com")).toBe("A");
      dns.set({ name, type: "A", values: ["127.98.0.2"] });
      await eventually(route, (text) => text === `20000 acme\n+127.98.0.2:${port}\n`, 15_000);
      expect(await hello("a.example.com")).toBe("B");
      dns.set({ name, type: "A", values: [] });
      region.publish([...region.routes, tlsRoute(20001, "globex", "g.example.com", a.address)]);
      await applied();
      expect(await hello("a.example.com")).toBe("B");
    } finally {
      moved.close();
      dns.stop();
    }
  });

  it.runIf(process.getuid?.() === 0)(
    "gives the user of nginx's workers nothing to change, and nobody to end",
    async () => {
      region.publish([tlsRoute(20000, "acme", "a.example.com", a.address)]);
      await start();
      await applied();
      const worker = Number(workers());
      const id = (pid: number, what: string) =>
        new RegExp(`^${what}:\\s+(.*)$`, "m").exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1]!.split(/\s+/);
      for (const pid of [edge.pid!, worker]) {
        expect(id(pid, "Uid")).not.toContain("0");
        expect([id(pid, "CapPrm"), id(pid, "CapBnd")].flat()).toEqual(["0000000000000000", "0000000000000000"]);
      }
      // As code in a worker could: with its user, its group and no capability.
      const asWorker = (script: string) => {
        const [uid, gid] = [id(worker, "Uid")[0]!, id(worker, "Gid")[0]!];
        const as = [`--reuid=${uid}`, `--regid=${gid}`, "--clear-groups", "--bounding-set=-all", "sh", "-c", script];
        return spawnSync("setpriv", as, { cwd: dir, encoding: "utf8" });
      };
      const tried = [
        "echo x > run/routes/n/evil.example.com",
        "echo x > run/routes/n/a.example.com",
        "mv run/routes/n/a.example.com run/sockets/",
        "rm -f run/routes/n/a.example.com",
        "echo x > run/nginx.conf",
        "echo x > run/router-x.js",
        "ln -sf /etc/passwd run/sessions/opened",
        "rm -f run/sessions/opened",
        "mkfifo run/logs/failed.log~",
        "echo x > run/backends.json",
        "echo x > run/start",
        "echo x > state/manifest.json",
        "touch state/drain",
        `kill -0 ${edge.agentPid}`,
        `kill -0 ${process.pid}`,
      ];
      const could = tried.filter((script) => asWorker(script).status === 0);
      expect(could).toEqual([]);
      // What it may: say that connections failed, fill its own files, and name another process as nginx.
      expect(
        asWorker(`echo ${process.pid} > run/nginx.pid; truncate -s 1T run/logs/ended.log run/sessions/opened`).status,
      ).toBe(0);
      expect(edge.agentPid).toBeDefined();
      const now = region.publish([tlsRoute(20000, "acme", "a.example.com", b.address)]);
      await reported(({ appliedGeneration }) => appliedGeneration === now);
      await eventually(
        () => ["logs/ended.log", "sessions/opened"].map((file) => statSync(path.join(dir, "run", file)).size),
        (sizes) => sizes.every((size) => size < 1e6),
      );
      expect(await hello("a.example.com")).toBe("B");
    },
  );

  it("serves a snapshot that takes back what one before it wrote only in part", async () => {
    const [early, late] = ["acme", "globex"].sort((x, y) => bucketOf(x) - bucketOf(y)) as [string, string];
    const to = ({ address: backend }: Backend) => [
      tlsRoute(20000, early, "a.example.com", backend),
      rawRoute(5, late, slotPort(5), backend),
    ];
    region.publish(to(a));
    await start();
    await applied();
    renameSync(path.join(dir, "run/routes/p"), path.join(dir, "away"));
    region.publish(to(b));
    await reported(({ nack }) => (nack?.generation === undefined ? false : nack.reason.includes("ENOENT")));
    region.publish(to(a));
    renameSync(path.join(dir, "away"), path.join(dir, "run/routes/p"));
    await applied();
    expect([await hello("a.example.com"), await visit(Buffer.from("x"), { port: slotPort(5), host: address })]).toEqual(
      ["A", "A"],
    );
  });

  it("accepts manifests signed by either key during a key rotation, and later by the new key alone", async () => {
    region.sign("one", "two");
    region.publish([tlsRoute(20000, "acme", "a.example.com", a.address)]);
    await start();
    await applied();
    region.sign("two");
    region.publish([tlsRoute(20000, "acme", "a.example.com", b.address)]);
    await applied();
    expect(await hello("a.example.com")).toBe("B");
  });

  it.each([
    ["of an older generation", () => region.manifest({ generation: region.generation - 1 }), /older than/],
    ["of another cell", () => region.manifest({ cell: "c2", generation: 99 }), /for cell c2/],
    ["of 300 KB", () => `${region.manifest({ generation: 99 })}${" ".repeat(300_000)}`, /larger than/],
    ["that names a missing object", () => region.manifest({ generation: 99, routes: missing }), /is missing/],
  ])("refuses a manifest %s, reports it, keeps serving, and accepts the next good one", async (_, text, reason) => {
    region.publish();
    region.publish([tlsRoute(20000, "acme", "a.example.com", a.address)]);
    await start();
    await applied();
    region.putManifest(text());
    const { nack } = (await reported((report) => report.nack !== undefined))!;
    expect(nack?.reason).toMatch(reason);
    expect(await hello("a.example.com")).toBe("A");
    region.generation = 100;
    region.publish([tlsRoute(20000, "acme", "a.example.com", b.address)]);
    expect((await applied())?.nack).toBeUndefined();
    expect(await hello("a.example.com")).toBe("B");
  });
  const missing = Array.from({ length: 64 }, () => "0".repeat(64));

  it("restarts nginx while AWS accepts connections but never answers", async () => {
    region.publish([tlsRoute(20000, "acme", "a.example.com", a.address)]);
    await start();
    await applied();
    region.trouble = "hangs";
    await sleep(1000);
    const [worker, master] = [Number(workers()), edge.pid!];
    kill(master);
    kill(worker);
    await eventually(
      () => hello("a.example.com").catch(() => ""),
      (answer) => answer === "A",
    );
    expect(edge.pid).not.toBe(master);
  });

  it("leaves workers alone that lost their master and are only slow: their sessions live on", async () => {
    region.publish([tlsRoute(20000, "acme", "a.example.com", a.address)]);
    await start();
    await applied();
    const session = await open(clientHello({ name: "a.example.com" }));
    const worker = Number(workers());
    kill(edge.pid!);
    process.kill(worker, "SIGSTOP");
    await sleep(2500); // two probes
    process.kill(worker, "SIGCONT");
    expect(await hello("a.example.com")).toBe("A");
    expect(await echoes(session)).toBe(true);
    expect([edge.pid, readFileSync(`/proc/${worker}/comm`, "utf8")]).toEqual([undefined, "nginx\n"]);
  });

  it("replaces workers without a master that answer no probe, and lets their sessions go on if they can", async () => {
    region.publish([tlsRoute(20000, "acme", "a.example.com", a.address)]);
    await start();
    await applied();
    const session = await open(clientHello({ name: "a.example.com" }));
    const master = edge.pid!;
    kill(master);
    unlinkSync(path.join(dir, "run/sockets/probe.sock"));
    await eventually(
      () => edge.pid,
      (now) => now !== undefined && now !== master,
    );
    await eventually(
      () => hello("a.example.com").catch(() => ""),
      (answer) => answer === "A",
    );
    expect(await echoes(session)).toBe(true);
    const second = edge.pid!;
    const stuck = Number(workers());
    kill(second);
    process.kill(stuck, "SIGSTOP");
    await eventually(
      () => hello("a.example.com").catch(() => ""),
      (answer) => answer === "A",
      20_000,
    );
    expect(edge.pid).not.toBe(second);
    expect(await echoes(session)).toBe(true);
  });

  it("does not reload nginx for a new agent, and leaves no worker behind", async () => {
    region.publish([tlsRoute(20000, "acme", "a.example.com", a.address)]);
    await start();
    await applied();
    const before = workers();
    const session = await open(clientHello({ name: "a.example.com" }));
    for (let i = 0; i < 3; i++) {
      await killAgent();
      await eventually(health, (status) => status === 200);
    }
    expect(workers()).toBe(before);
    expect(await echoes(session)).toBe(true);
    session.destroy();
  });

  it("never has half a route when its agent is killed during changes, and ends up with all routes", async () => {
    const names = Array.from({ length: 30 }, (_, index) => `t${index}.example.com`);
    const routes = (backend: Backend) =>
      names.map((name, index) => tlsRoute(20000 + index, `t${index}`, name, backend.address));
    region.publish(routes(a));
    await start();
    await applied();
    const contents = [a, b].map(({ address }) => new RegExp(`^\\d+ t\\d+\\n[+-]${address}\\n$`));
    const folder = path.join(dir, "run/routes/n");
    for (let round = 0; round < 25; round++) {
      region.publish(routes(round % 2 === 0 ? b : a));
      await sleep(Math.random() * 400);
      if (edge.agentPid !== undefined) kill(edge.agentPid); // a new agent may be about to start
      for (const name of names) {
        const text = readFileSync(path.join(folder, name), "utf8");
        expect(contents.some((content) => content.test(text)) ? "whole" : text).toBe("whole");
      }
      expect(["A", "B"]).toContain(await hello(names[round % names.length]!));
      await eventually(
        () => edge.agentPid,
        (pid) => pid !== undefined,
      );
    }
    region.publish(routes(b));
    await applied();
    for (const name of names) expect(await hello(name)).toBe("B");
    expect(readdirSync(folder).sort()).toEqual(names.toSorted());
  });
});

describe("backends", () => {
  it("that die are replaced after one failed connection, and are used again once they are stable", async () => {
    const port = Number(a.address.split(":")[1]);
    const spare = {
      ...tlsRoute(20000, "acme", "a.example.com"),
      backends: { "us-west-2": [a.address], "eu-west-3": [b.address] },
    };
    region.publish([spare]);
    await start();
    await applied();
    expect(await hello("a.example.com")).toBe("A");
    a.close();
    const died = Date.now();
    const answers: string[] = [];
    while (answers.at(-1) !== "B" && Date.now() - died < 5000) answers.push(await hello("a.example.com"));
    expect(Date.now() - died).toBeLessThan(1000);
    a = await startBackend("A", "127.0.0.1", port);
    await eventually(
      () => hello("a.example.com"),
      (answer) => answer === "A",
      15_000,
    );
  });

  it("stay in the route when all of them are down", async () => {
    const dead = `127.0.0.1:${await freePort()}`;
    region.publish([tlsRoute(20000, "acme", "a.example.com", dead)]);
    await start();
    await applied();
    const file = path.join(dir, "run/routes/n/a.example.com");
    await eventually(
      () => readFileSync(file, "utf8"),
      (text) => text === `20000 acme\n-${dead}\n`,
    );
    expect(value(await metrics(), "landfall_backend_down", dead)).toBe(1);
    expect(await health()).toBe(200);
  });
});

describe("sessions", () => {
  const both = () => [
    tlsRoute(20000, "acme", "a.example.com", a.address),
    rawRoute(1, "acme", slotPort(1), a.address),
    tlsRoute(20001, "globex", "g.example.com", a.address),
  ];

  it("of a removed tenant end after the grace period and are reported; those of other tenants stay open", async () => {
    region.publish(both());
    await start();
    await applied();
    const [gone, goneRaw, stays] = await Promise.all([
      open(clientHello({ name: "a.example.com" })),
      open(Buffer.from("hello"), slotPort(1)),
      open(clientHello({ name: "g.example.com" })),
    ]);
    region.publish(both().filter(({ tenantId }) => tenantId === "globex"));
    await applied();
    expect(await hello("a.example.com")).toBe("closed");
    expect(await Promise.all([gone, goneRaw, stays].map(echoes))).toEqual([true, true, true]);
    const report = await reported(({ closing }) => closing?.filter(({ closed }) => closed === 1).length === 2);
    expect(report?.closing?.map(({ tenantId, slot, open }) => [tenantId, slot, open]).sort()).toEqual([
      ["acme", 1, 0],
      ["acme", 20000, 0],
    ]);
    expect([gone.destroyed, goneRaw.destroyed]).toEqual([true, true]);
    expect(await echoes(stays)).toBe(true);
    stays.destroy();
  });

  it("of a tenant that returns within the grace period stay open", async () => {
    region.publish(both());
    await start();
    await applied();
    const session = await open(clientHello({ name: "a.example.com" }));
    region.publish([]);
    await applied();
    region.publish(both());
    await applied();
    await sleep(3000);
    expect(await echoes(session)).toBe(true);
    session.destroy();
  });

  it("keep their owner when the agent is killed", async () => {
    region.publish(both());
    await start();
    await applied();
    const session = await open(clientHello({ name: "a.example.com" }));
    await killAgent();
    await eventually(
      async () => value(await metrics().catch(() => ""), "landfall_connections{"),
      (count) => count === 1,
    );
    region.publish(both().filter(({ tenantId }) => tenantId === "globex"));
    await reported(
      ({ closing }) => closing?.some(({ tenantId, closed }) => tenantId === "acme" && closed === 1) ?? false,
    );
    expect(session.destroyed).toBe(true);
  });

  it("keep their tenant when its name moves to another tenant and the agent is killed afterwards", async () => {
    region.publish(both());
    await start();
    await applied();
    const session = await open(clientHello({ name: "a.example.com" }));
    region.publish([tlsRoute(20001, "globex", "a.example.com", a.address)]);
    await applied();
    const moved = await open(clientHello({ name: "a.example.com" }));
    await killAgent();
    await reported(
      ({ closing }) => closing?.some(({ tenantId, closed }) => tenantId === "acme" && closed === 1) ?? false,
    );
    expect(session.destroyed).toBe(true);
    expect(await echoes(moved)).toBe(true);
    moved.destroy();
  });

  it("are counted for each tenant, with their bytes, while they are open and after they end", async () => {
    region.publish(both());
    await start();
    await applied();
    const session = await open(clientHello({ name: "a.example.com" }));
    session.write("x".repeat(50_000));
    await eventually(
      async () => value(await metrics(), "landfall_tenant_bytes_total", 'tenant="acme"', 'direction="sent"'),
      (bytes) => (bytes ?? 0) > 50_000,
    );
    const during = await metrics();
    expect(value(during, "landfall_tenant_sessions{", 'tenant="acme"')).toBe(1);
    expect(value(during, "landfall_tenant_sessions_total", 'tenant="acme"')).toBe(1);
    expect(value(during, "landfall_connections{")).toBe(1);
    session.end();
    const sent = clientHello({ name: "a.example.com" }).length + 50_000;
    await eventually(
      async () => value(await metrics(), "landfall_tenant_sessions{", 'tenant="acme"'),
      (count) => count === 0,
    );
    await sleep(1500); // nginx writes a session's byte counts within a second
    expect(value(await metrics(), "landfall_tenant_bytes_total", 'tenant="acme"', 'direction="received"')).toBe(sent);
  });
});

describe("a tenant's limits", () => {
  const enter = (name: string, from?: string) => {
    const socket = connect({ port: tls, host: address, ...(from === undefined ? {} : { from }) });
    socket.write(clientHello({ name }));
    return { socket, answer: firstAnswer(socket) };
  };
  const limited = (is: boolean) =>
    eventually(metrics, (text) => (value(text, "landfall_tenant_limited", '"acme"') === 1) === is, 5000);

  it("stop its further sessions, and not those of others; a source may have a quarter of them", async () => {
    region.publish([
      { ...tlsRoute(20000, "acme", "a.example.com", a.address), sessionLimits: { open: 8 } },
      tlsRoute(20001, "globex", "b.example.com", b.address),
    ]);
    await start();
    await applied();
    const first = [enter("a.example.com", "127.0.0.5"), enter("a.example.com", "127.0.0.5")];
    expect(await Promise.all(first.map(({ answer }) => answer))).toEqual(["A", "A"]);
    await limited(true);
    expect(await enter("a.example.com", "127.0.0.5").answer).toBe("closed");
    const more = ["6", "6", "7", "7", "8", "8"].map((last) => enter("a.example.com", `127.0.0.${last}`));
    expect((await Promise.all(more.map(({ answer }) => answer))).filter((answer) => answer === "A")).toHaveLength(6);
    await eventually(
      () => visit(clientHello({ name: "a.example.com" }), { port: tls, host: address, from: "127.0.0.9" }),
      (answer) => answer === "closed",
    );
    expect(await hello("b.example.com")).toBe("B");
    await eventually(metrics, (text) => value(text, "landfall_connections_refused_total", '"limit"')! >= 2);
    for (const { socket } of more) socket.destroy();
    await eventually(
      () => visit(clientHello({ name: "a.example.com" }), { port: tls, host: address, from: "127.0.0.9" }),
      (answer) => answer === "A",
      5000,
    );
    for (const { socket } of first) socket.destroy();
    await limited(false);
  });
});

describe("connections that lead nowhere", () => {
  it("are counted by their reason, and the names that they asked for last are kept, as many as asked at once", async () => {
    region.publish([tlsRoute(20000, "acme", "a.example.com", a.address)]);
    await start();
    await applied();
    await Promise.all(Array.from({ length: 30 }, (_, index) => hello(`n${index}.nobody.org`)));
    await visit(Buffer.from("GET / HTTP/1.0\r\n\r\n"), { port: tls, host: address });
    await eventually(metrics, (text) => value(text, "landfall_connections_refused_total", '"plain"') === 1);
    const text = await metrics();
    expect(value(text, "landfall_connections_refused_total", '"unknown"')).toBe(30);
    expect(value(text, "landfall_connections_refused_total", '"limit"')).toBe(0);
    const { counts, last } = (await (await fetch(`http://${address}:8080/refused`)).json()) as {
      counts: Record<string, number>;
      last: { reason: string; what: string; count: number; at: number }[];
    };
    expect(counts).toMatchObject({ unknown: 30, plain: 1 });
    expect(last).toHaveLength(20);
    expect(last[0]).toMatchObject({ reason: "unknown", what: expect.stringMatching(/^n\d+\.nobody\.org$/), count: 1 });
    expect(await hello("a.example.com")).toBe("A");
  });
});

describe("an edge that is asked to drain", () => {
  it("fails its health check, waits until no new session opens, closes at a steady pace, and can return", async () => {
    region.publish([tlsRoute(20000, "acme", "a.example.com", a.address)]);
    await start();
    await applied();
    await eventually(health, (status) => status === 200);
    const sessions = await Promise.all(Array.from({ length: 10 }, () => open(clientHello({ name: "a.example.com" }))));
    const asked = path.join(dir, "state/drain");
    writeFileSync(asked, "");
    await reported(({ drain, serving }) => drain?.phase === "leaving" && !serving);
    expect(await health()).toBe(503);
    const late = await open(clientHello({ name: "a.example.com" }));
    expect(await echoes(late)).toBe(true);
    await reported(({ drain }) => drain?.phase === "closing");
    await reported(({ drain }) => drain?.phase === "drained");
    expect([...sessions, late].every((session) => session.destroyed)).toBe(true);
    expect(value(await metrics(), "landfall_sessions_closed_total", "drain")).toBe(11);
    removeDir(asked);
    await eventually(health, (status) => status === 200);
    expect(await hello("a.example.com")).toBe("A");
  });

  it("counts its sessions in the first report of a drain, however long the count takes", async () => {
    region.publish([tlsRoute(20000, "acme", "a.example.com", a.address)]);
    await start({ sockets: ["sh", "-c", 'sleep 0.6; exec ss "$@"', "ss"] });
    await applied();
    const session = await open(clientHello({ name: "a.example.com" }));
    writeFileSync(path.join(dir, "state/drain"), "");
    const first = await reported(({ drain }) => drain !== undefined);
    expect(first!.drain).toMatchObject({ phase: "leaving", sessions: 1 });
    session.destroy();
  });

  it("starts to drain though it can't list or end sessions, and still gives its other metrics", async () => {
    region.publish([tlsRoute(20000, "acme", "a.example.com", a.address)]);
    await start({ sockets: ["false"] });
    await applied();
    writeFileSync(path.join(dir, "state/drain"), "");
    await reported(({ drain, serving }) => drain?.phase === "leaving" && !serving);
    expect(await health()).toBe(503);
    expect(value(await metrics(), "landfall_draining")).toBe(1);
  });
});
