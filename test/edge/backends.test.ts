import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Backends } from "../../edge/agent/backends/backends.ts";
import type { BackendCheck } from "../../edge/agent/backends/connect.ts";
import {
  type Backend,
  checkEveryMs,
  hotEveryMs,
  hotMs,
  idleEveryMs,
  observe,
  type Sign,
  unknownBackend,
} from "../../edge/agent/backends/damping.ts";
import { readContent, routeContent } from "../../edge/agent/routes/content.ts";

const start = 1_000_000_000;
const shown = (signs: [Sign, number][], from: Backend = unknownBackend) =>
  signs.reduce((backend, [sign, at]) => observe(backend, sign, start + at), from);

describe("a backend's health", () => {
  it("is up while nothing is known about it", () => {
    expect(unknownBackend.up).toBe(true);
  });

  it.each([
    ["a refusal", [["refused", 0]], false],
    ["a user's failed connection", [["failed", 0]], false],
    ["one unanswered check, which may be a lost packet", [["silent", 0]], true],
    [
      "two unanswered checks in a row",
      [
        ["silent", 0],
        ["silent", 1000],
      ],
      false,
    ],
    [
      "two unanswered checks with a good one between",
      [
        ["silent", 0],
        ["connected", 500],
        ["silent", 1000],
      ],
      true,
    ],
    [
      "one good check after a failure",
      [
        ["refused", 0],
        ["connected", 5000],
      ],
      false,
    ],
    [
      "two good checks, a second or more after the failure",
      [
        ["refused", 0],
        ["connected", 500],
        ["connected", 1500],
      ],
      true,
    ],
    [
      "two good checks with a bad one between",
      [
        ["refused", 0],
        ["connected", 1000],
        ["silent", 2000],
        ["connected", 3000],
      ],
      false,
    ],
  ] as [string, [Sign, number][], boolean][])("after %s, up is $2", (_, signs, up) => {
    expect(shown(signs).up).toBe(up);
  });

  it("recovers later with each failure, at most after a minute, and starts afresh after five good minutes", () => {
    const timeToRise = (backend: Backend, from: number) => {
      for (let ms = 1000; ; ms += 1000) {
        backend = observe(backend, "connected", from + ms);
        if (backend.up) return { backend, ms };
      }
    };
    let backend = unknownBackend;
    let now = start;
    const times: number[] = [];
    for (let fall = 0; fall < 9; fall++) {
      const risen = timeToRise(observe(backend, "refused", now), now);
      times.push(risen.ms);
      backend = risen.backend;
      now += risen.ms + 1000;
    }
    expect(times).toEqual([2000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]);
    now += 6 * 60_000;
    expect(timeToRise(observe(backend, "refused", now), now).ms).toBe(2000);
  });

  it("is down after a refusal or a failed connection, whatever came before", () => {
    const sign = fc.constantFrom<Sign>("connected", "refused", "silent", "failed");
    fc.assert(
      fc.property(fc.array(sign, { maxLength: 30 }), (signs) => {
        const backend = shown(signs.map((one, index) => [one, index * 1000]));
        expect(observe(backend, "refused", start + 60_000).up).toBe(false);
        expect(observe(backend, "failed", start + 60_000).up).toBe(false);
      }),
    );
  });

  it("is checked every second while users connect, while in doubt and after a failure, otherwise every 30 s", () => {
    expect(checkEveryMs(unknownBackend, start - 1000, start)).toBe(hotEveryMs);
    expect(checkEveryMs(unknownBackend, start - hotMs, start)).toBe(idleEveryMs);
    expect(checkEveryMs(shown([["silent", 0]]), 0, start)).toBe(hotEveryMs);
    expect(checkEveryMs(shown([["refused", 0]]), 0, start + hotMs - 1)).toBe(hotEveryMs);
    expect(checkEveryMs(shown([["refused", 0]]), 0, start + hotMs)).toBe(idleEveryMs);
  });
});

describe("a backend that takes connections and says nothing", () => {
  it("is down at once, and knows why until it is up again", () => {
    const mute = shown([["mute", 0]]);
    expect(mute).toMatchObject({ up: false, isMute: true });
    expect(
      shown(
        [
          ["connected", 2000],
          ["connected", 3000],
        ],
        mute,
      ),
    ).toMatchObject({ up: true, isMute: undefined });
    expect(shown([["refused", 0]]).isMute).toBeUndefined();
  });
});

describe("a route's file", () => {
  const groups = ["near1 near2", "far1"];
  const owner = { slot: 20000, tenantId: "acme" };
  const target = { groups, options: [] };
  const content = (...down: string[]) => routeContent({ ...owner, target }, (backend) => !down.includes(backend));

  it.each([
    [[], "+near1\n+near2\n\n+far1\n", "all backends of the nearest region"],
    [["near1"], "+near2\n\n-near1\n+far1\n", "the healthy backend of the nearest region"],
    [["near1", "near2"], "+far1\n\n-near1\n-near2\n", "the next region's backends"],
    [["near1", "near2", "far1"], "-near1\n-near2\n\n-far1\n", "the nearest region's backends, though all are down"],
    [["far1"], "+near1\n+near2\n\n-far1\n", "the nearest region stays in use"],
  ])("with %j down contains %j: %s", (down, text) => {
    expect(content(...down)).toBe(`20000 acme\n${text}`);
  });

  it("always names every backend once", () => {
    const some = fc.uniqueArray(fc.string({ unit: fc.constantFrom("a", "b", "c", "1"), minLength: 1 }), {
      minLength: 1,
    });
    fc.assert(
      fc.property(some, fc.func(fc.boolean()), fc.nat(), (backends, isUp, cut) => {
        const at = cut % backends.length;
        const groups = [backends.slice(0, at), backends.slice(at)].filter((group) => group.length > 0);
        const options = ["v2", "allow=7f000001-7f000001"];
        const read = readContent(
          routeContent({ ...owner, target: { groups: groups.map((group) => group.join(" ")), options } }, isUp),
        )!;
        const named = read.target.groups.flatMap((group) => group.split(" ")).sort();
        expect({ ...read, target: { options: read.target.options, groups: named } }).toEqual({
          ...owner,
          target: { options, groups: backends.toSorted() },
        });
      }),
    );
  });
});

describe("Backends", () => {
  let dir: string;
  let looks: string[];
  let changes: string[][];
  let troubles: unknown[];
  let answers: Map<string, "connected" | "refused" | "silent" | "own fault">;
  let checks: (BackendCheck | undefined)[];
  let watched: Set<string>;
  const make = (budget = 500, check?: BackendCheck) =>
    new Backends({
      watched: () => watched,
      file: path.join(dir, "backends.json"),
      checkOf: () => check,
      look: async (backend, check) => {
        looks.push(backend);
        checks.push(check);
        const answer = answers.get(backend) ?? "connected";
        return answer === "own fault" ? undefined : answer;
      },
      onChange: (changed) => changes.push(changed),
      onTrouble: (error) => troubles.push(error),
      budget,
    });
  const watch = (backends: Backends, ...names: string[]) => {
    const began = names.filter((name) => !watched.has(name));
    for (const name of began) watched.add(name);
    backends.watch(began);
  };
  /** Runs `seconds` of ticks, ten a second, on a simulated clock. */
  const run = (backends: Backends, seconds: number, from = start) => {
    for (let ms = 0; ms <= seconds * 1000; ms += 100) backends.tick(from + ms);
  };
  const settle = () => new Promise((resolve) => setTimeout(resolve, 5));

  beforeEach(() => {
    dir = mkdtempSync(path.join(os.tmpdir(), "landfall-backends-"));
    [looks, checks, changes, troubles, answers, watched] = [[], [], [], [], new Map(), new Set()];
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  it("checks idle backends every 30 s and used ones every second", () => {
    const backends = make();
    watch(backends, "idle", "hot");
    for (let ms = 0; ms <= 60_000; ms += 100) {
      backends.used("hot", start + ms);
      backends.tick(start + ms);
    }
    const count = (backend: string) => looks.filter((one) => one === backend).length;
    expect(count("idle")).toBeLessThanOrEqual(3);
    expect(count("idle")).toBeGreaterThanOrEqual(2);
    expect(count("hot")).toBeGreaterThanOrEqual(55);
    expect(count("hot")).toBeLessThanOrEqual(61);
  });

  it.each([1, 2, 3, 10])("checks each of %i idle backends every 30 s", (count) => {
    const backends = make();
    watch(backends, ...Array.from({ length: count }, (_, index) => `idle${index}`));
    run(backends, 60);
    const first = looks.length;
    run(backends, 300, start + 60_000);
    expect(looks.length - first).toBeGreaterThanOrEqual(10 * count - 1);
    expect(looks.length - first).toBeLessThanOrEqual(10 * count + 1);
  });

  it("checks every idle backend within half a minute, also while others come and go", () => {
    const backends = make();
    const idle = Array.from({ length: 900 }, (_, index) => `idle${index}`);
    watch(backends, ...idle, "leaves");
    run(backends, 10);
    looks = [];
    for (let ms = 0; ms < 31_000; ms += 100) {
      if (ms === 5000) watched.delete("leaves");
      if (ms === 5000) backends.unwatch(["leaves"]);
      if (ms % 1000 === 0) watch(backends, `new${ms}`);
      backends.tick(start + 10_000 + ms);
    }
    expect(idle.filter((backend) => !looks.includes(backend))).toEqual([]);
    expect(looks.length).toBeLessThan(1000);
  });

  it("keeps its budget, and leaves a tenth of it for idle backends when too many are in use", () => {
    const backends = make(100);
    const hot = Array.from({ length: 500 }, (_, index) => `hot${index}`);
    const idle = Array.from({ length: 200 }, (_, index) => `idle${index}`);
    watch(backends, ...idle);
    run(backends, 10);
    watch(backends, ...idle, ...hot);
    looks = [];
    for (let ms = 0; ms < 60_000; ms += 100) {
      for (const backend of hot) backends.used(backend, start + 10_000 + ms);
      backends.tick(start + 10_000 + ms);
    }
    expect(looks.length).toBeLessThanOrEqual(100 * 60);
    expect(looks.filter((one) => one.startsWith("idle")).length).toBeGreaterThanOrEqual(200);
    expect(new Set(looks).size).toBe(700);
  });

  it("checks those in use on time, though a snapshot brings very many new ones", () => {
    const backends = make(100);
    watch(backends, "hot");
    run(backends, 1);
    watch(backends, ...Array.from({ length: 5000 }, (_, index) => `new${index}`));
    looks = [];
    for (let ms = 0; ms < 20_000; ms += 100) {
      backends.used("hot", start + 1000 + ms);
      backends.tick(start + 1000 + ms);
    }
    expect(looks.filter((one) => one === "hot").length).toBeGreaterThanOrEqual(19);
    expect(looks.length).toBeGreaterThan(1500);
  });

  it("reports each change once, in batches, and remembers over a restart which backends are down", async () => {
    const backends = make();
    for (const backend of ["a", "b"]) answers.set(backend, "refused");
    watch(backends, "a", "b", "c");
    run(backends, 1);
    await settle();
    expect(changes.map((changed) => changed.toSorted())).toEqual([["a", "b"]]);
    expect(backends.down).toEqual(["a", "b"]);
    expect([make().isUp("a"), make().isUp("c"), make().isUp("unknown")]).toEqual([false, true, true]);
  });

  it("stays up when a user could not be connected because this edge has no port left, and else is down at once", async () => {
    const backends = make();
    watch(backends, "a", "b");
    answers.set("a", "own fault");
    for (let i = 0; i < 5; i++) for (const backend of ["a", "b"]) void backends.failed(backend, Date.now());
    await settle();
    expect([backends.isUp("a"), backends.isUp("b"), backends.ownFaults]).toEqual([true, false, 1]);
    expect(looks).toEqual(["a", "b"]);
    run(backends, 2);
    await settle();
    expect(backends.isUp("a")).toBe(true);
  });

  it("that a user got nothing from is asked for a word: one that is silent is down, over a restart too, until it speaks", async () => {
    const check = { type: "http", path: "/readyz", port: 9, name: "a.example.com", proxyProtocol: "v2" } as const;
    const backends = make(500, check);
    watch(backends, "a");
    answers.set("a", "silent");
    backends.doubt("a", Date.now());
    await settle();
    expect(checks).toEqual([{ type: "word", name: "a.example.com", proxyProtocol: "v2" }]);
    expect([backends.isUp("a"), changes]).toEqual([false, [["a"]]]);
    const next = make(500, check);
    next.watch(["a"]);
    answers.set("a", "connected");
    const later = Date.now() + 60_000;
    for (const second of [1, 3, 5, 7]) {
      next.tick(later + second * 1000 - 500);
      next.tick(later + second * 1000);
      await settle();
    }
    expect(checks.slice(1, 3).map((check) => check?.type)).toEqual(["word", "word"]);
  });

  it.each([
    ["connected", "answers"],
    ["refused", "is checked otherwise"],
  ] as const)(
    "that a user got nothing from stays up when it %s (%s), and is not asked at once again",
    async (sign, _) => {
      const backends = make();
      watch(backends, "a");
      answers.set("a", sign);
      for (const ms of [0, 4999, 5000]) backends.doubt("a", start + ms);
      await settle();
      expect([backends.isUp("a"), looks.length]).toEqual([true, 2]);
    },
  );

  it("is not asked for a word when it must not be checked, is not of a route, or is down", async () => {
    const never = make(500, { type: "none" });
    watch(never, "a");
    never.doubt("a", start);
    const backends = make();
    backends.watch(["a"]);
    await backends.failed("a", start);
    for (const backend of ["a", "b"]) backends.doubt(backend, start);
    await settle();
    expect(checks).toEqual([{ type: "tcp" }]); // of the failure
  });

  it.each(["", "null", '[["a",{"up":fal', '[["a"]]'])("starts without knowledge when its file contains %j", (text) => {
    writeFileSync(path.join(dir, "backends.json"), text);
    expect(make().isUp("a")).toBe(true);
  });

  it("goes on when its state can't be saved, and reports it", async () => {
    const backends = make();
    watch(backends, "a");
    rmSync(dir, { recursive: true });
    await backends.failed("a", start);
    await settle();
    expect([backends.isUp("a"), changes, troubles.length]).toEqual([false, [["a"]], 1]);
  });

  it("keeps the state of a backend that the edge itself could not check", async () => {
    const backends = new Backends({
      watched: () => watched,
      file: path.join(dir, "backends.json"),
      look: async () => undefined,
      onChange: (changed) => changes.push(changed),
      onTrouble: (error) => troubles.push(error),
    });
    watch(backends, "a");
    run(backends, 5);
    await settle();
    expect([backends.isUp("a"), changes]).toEqual([true, []]);
  });

  it("marks a backend down at once after a failed connection, and forgets one that no route names", async () => {
    const backends = make();
    watch(backends, "a");
    await backends.failed("a", Date.now());
    await backends.failed("stranger", Date.now());
    await settle();
    expect(changes).toEqual([["a"]]);
    watched.delete("a");
    backends.unwatch(["a"]);
    expect([backends.down, backends.count]).toEqual([[], 0]);
  });
});
