/** What an agent does by itself over months: credentials, clocks that jump, logs. */
import { spawn } from "node:child_process";
import fs, { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import http from "node:http";
import { syncBuiltinESMExports } from "node:module";
import type net from "node:net";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Complaints } from "../../edge/agent/complaints.ts";
import { Lifecycle } from "../../edge/agent/lifecycle.ts";
import { InstanceMetadata } from "../../edge/agent/metadata.ts";
import { Nginx } from "../../edge/agent/nginx/nginx.ts";
import { EdgeCloud } from "../../edge/agent/snapshot/aws.ts";
import { SnapshotSource } from "../../edge/agent/snapshot/source.ts";
import { Store } from "../../edge/agent/snapshot/store.ts";
import { sha256 } from "../../schemas/signed.ts";

const minute = 60_000;
const start = Date.UTC(2026, 0, 1);
/** Time passes, by both clocks. */
const pass = (ms: number) => vi.advanceTimersByTime(ms);
/** Somebody sets the machine's clock. */
const jump = (ms: number) => vi.setSystemTime(Date.now() + ms);

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["Date", "performance"], now: start });
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe("an edge's credentials", () => {
  let server: http.Server;
  let status = 200;
  let renewals = 0;
  let cloud: EdgeCloud;
  beforeEach(async () => {
    [status, renewals] = [200, 0];
    server = http.createServer((_, response) => response.writeHead(status).end("x"));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const provider = async () => {
      renewals++;
      return { accessKeyId: "a", secretAccessKey: "s", expiration: new Date(Date.now() + 60 * minute) };
    };
    cloud = new EdgeCloud("us-west-2", `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`, provider);
  });
  afterEach(() => server.close());
  const ask = () => cloud.getObject("b", "k", 10).catch((error: Error) => error.message);

  it("are used until half an hour has passed, and then renewed", async () => {
    await ask();
    pass(30 * minute - 1);
    await ask();
    expect(renewals).toBe(1);
    pass(1);
    await ask();
    expect(renewals).toBe(2);
  });

  it.each([[-24 * 60], [24 * 60]])("are renewed in time though the clock jumps by %i minutes", async (minutes) => {
    await ask();
    jump(minutes * minute);
    pass(30 * minute);
    await ask();
    expect(renewals).toBe(2);
    pass(30 * minute);
    await ask();
    expect(renewals).toBeGreaterThan(2);
  });

  it("are renewed early when AWS does not take them any more, but not with every request", async () => {
    await ask();
    status = 403;
    pass(9_000);
    for (let i = 0; i < 5; i++) await ask();
    expect(renewals).toBe(1);
    pass(1_000);
    for (let i = 0; i < 5; i++) await ask();
    expect(renewals).toBe(2);
  });

  it("that can't be renewed are used on", async () => {
    let isBroken = false;
    let failures = 0;
    const provider = async () => {
      if (isBroken) throw new Error(`no metadata ${++failures}`);
      return { accessKeyId: "a", secretAccessKey: "s" };
    };
    const { port } = server.address() as net.AddressInfo;
    const other = new EdgeCloud("us-west-2", `http://127.0.0.1:${port}`, provider);
    await other.getObject("b", "k", 10);
    isBroken = true;
    pass(60 * minute);
    for (let i = 0; i < 3; i++) expect(await other.getObject("b", "k", 10)).toMatchObject({ text: "x" });
    expect(failures).toBe(1);
    const none = new EdgeCloud("us-west-2", `http://127.0.0.1:${port}`, provider);
    await expect(none.getObject("b", "k", 10)).rejects.toThrow("no metadata");
  });
});

describe("the instance's metadata", () => {
  /** A metadata service whose tokens end by its own clock, as EC2's do. */
  const serve = (values: Record<string, string>) => {
    let issued = 0;
    const service = { tokens: new Set<string>(), asked: 0 };
    vi.stubGlobal("fetch", async (url: string, { method = "GET", headers = {} }: RequestInit) => {
      if (method === "PUT") {
        const token = `token-${++issued}`;
        service.tokens.add(token);
        return new Response(token);
      }
      service.asked++;
      const token = (headers as Record<string, string>)["x-aws-ec2-metadata-token"]!;
      if (!service.tokens.has(token)) return new Response("", { status: 401 });
      const value = values[url.slice(url.indexOf("/meta-data/") + 11)];
      return value === undefined ? new Response("", { status: 404 }) : new Response(value);
    });
    return service;
  };

  it("says that the instance will be terminated though the clock was set back and the token ended", async () => {
    const values: Record<string, string> = { "autoscaling/target-lifecycle-state": "InService" };
    const service = serve(values);
    const metadata = new InstanceMetadata();
    expect(await metadata.get("autoscaling/target-lifecycle-state")).toBe("InService");
    jump(-24 * 60 * minute);
    pass(5 * minute);
    service.tokens.clear();
    values["autoscaling/target-lifecycle-state"] = "Terminated";
    expect(await metadata.get("autoscaling/target-lifecycle-state")).toBe("Terminated");
    service.tokens.clear(); // before its time
    expect(await metadata.get("autoscaling/target-lifecycle-state")).toBe("Terminated");
    expect(service.asked).toBe(4);
    expect(await metadata.get("spot/instance-action")).toBeUndefined();
  });
});

describe("an instance's end", () => {
  it.each([
    ["Terminated", true],
    ["InService", false],
    ["Standby", false],
    ["terminated", false],
    [undefined, false],
  ])("is near when Auto Scaling says %s: %s", async (state, isLeaving) => {
    const lifecycle = new Lifecycle({ get: async () => state }, new Complaints({ warn: () => {} } as never));
    await lifecycle.look();
    expect(lifecycle.isLeaving).toBe(isLeaving);
  });

  it("stays near while the metadata does not answer", async () => {
    const answers = ["Terminated", undefined];
    const get = async () => answers.shift() ?? Promise.reject(new Error("no answer"));
    const lifecycle = new Lifecycle({ get }, new Complaints({ warn: () => {} } as never));
    for (let i = 0; i < 2; i++) await lifecycle.look();
    expect(lifecycle.isLeaving).toBe(true);
  });
});

describe("a pid file", () => {
  it("counts only while its process is this edge's nginx: another one may have its number now", () => {
    const dir = mkdtempSync(path.join(os.tmpdir(), "landfall-pid-"));
    const nginx = new Nginx(dir, { command: ["nginx"], start: "agent" });
    for (const text of [String(process.pid), "1", "0", "-1", "x", "", "4194304"]) {
      writeFileSync(path.join(dir, "nginx.pid"), `${text}\n`);
      expect(nginx.pid()).toBeUndefined();
    }
    const other = spawn("sleep", ["30"], { argv0: `nginx: master process ${dir}` }); // who writes the file may name anybody
    try {
      writeFileSync(path.join(dir, "nginx.pid"), `${other.pid}\n`);
      expect(readFileSync(`/proc/${other.pid}/cmdline`, "utf8")).toContain(dir);
      expect(nginx.pid()).toBeUndefined();
    } finally {
      other.kill("SIGKILL");
    }
    rmSync(dir, { recursive: true });
  });
});

describe("an object", () => {
  const text = '{"routes":[]}';
  const hash = sha256(text);
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(path.join(os.tmpdir(), "landfall-objects-"));
  });
  afterEach(() => rmSync(dir, { recursive: true }));
  const sourceOf = (answer: string) => {
    const cloud = { getObject: async () => ({ text: answer, etag: "1" }) } as unknown as EdgeCloud;
    return new SnapshotSource(cloud, new Store(dir), { bucket: "b", cell: "c1" });
  };

  it("from the bucket is used and kept only if its bytes match its name", async () => {
    await expect(sourceOf('{"routes":[1]}').object(hash)).rejects.toThrow("does not match its hash");
    expect(readdirSync(path.join(dir, "objects"))).toEqual([]);
    expect(await sourceOf(text).object(hash)).toBe(text);
    expect(readdirSync(path.join(dir, "objects"))).toEqual([hash]);
  });

  it("on the disk is used only if its bytes match its name, and else read again", async () => {
    await sourceOf(text).object(hash);
    writeFileSync(path.join(dir, "objects", hash), "{}");
    expect(new Store(dir).object(hash)).toBeUndefined();
    expect(await sourceOf(text).object(hash)).toBe(text);
  });
});

describe("a snapshot on the disk", () => {
  it("is there after a power failure: objects before the manifest that names them, and their names too", async () => {
    const dir = mkdtempSync(path.join(os.tmpdir(), "landfall-power-"));
    const store = new Store(dir);
    const [handle, real] = [await open(dir), fs.fsyncSync];
    const events: string[] = [];
    const sync = vi.spyOn(Object.getPrototypeOf(handle) as typeof handle, "sync").mockImplementation(async () => {
      events.push(
        `sync, ${readdirSync(dir).includes("manifest.json") ? "the manifest is there" : "before the manifest"}`,
      );
    });
    fs.fsyncSync = () => void events.push("sync now");
    syncBuiltinESMExports();
    try {
      for (const text of ["a", "b"]) store.saveObject(sha256(text), text);
      await store.saveManifest("{}", sha256("a"));
    } finally {
      fs.fsyncSync = real;
      syncBuiltinESMExports();
      sync.mockRestore();
      await handle.close();
    }
    const before = "sync, before the manifest"; // two objects and their folder
    expect(events).toEqual([before, before, before, "sync now", "sync now", "sync now", "sync now"]);
    await store.saveManifest("{} ", sha256("a"));
    expect(readFileSync(path.join(dir, "manifest.json"), "utf8")).toBe("{} ");
    rmSync(dir, { recursive: true });
  });
});

describe("a complaint", () => {
  it("is logged at once, and again after pauses that grow to ten minutes, with how often it came", () => {
    const said: { at: number; times: number }[] = [];
    const warn = ({ times }: { times: number }) => void said.push({ at: Date.now() - start, times });
    const complaints = new Complaints({ warn } as never);
    for (let i = 0; i < 4 * 60 * 60; i++) {
      complaints.wrong("pull failed", new Error(`another text ${i}`));
      pass(1000);
    }
    expect(said.slice(0, 4)).toEqual([
      { at: 0, times: 1 },
      { at: 1000, times: 1 },
      { at: 3000, times: 2 },
      { at: 7000, times: 4 },
    ]);
    expect(said.length).toBeLessThan(35);
    expect(said.at(-1)!.times).toBe(600);
    const before = said.length;
    complaints.wrong("report failed", new Error("x"));
    pass(5 * minute);
    complaints.wrong("report failed", new Error("x"));
    complaints.wrong("report failed", new Error("x"));
    expect(said.slice(before).map(({ times }) => times)).toEqual([1, 1]);
  });
});
