import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { EdgeCloud } from "../../edge/agent/snapshot/aws.ts";
import { SnapshotSource } from "../../edge/agent/snapshot/source.ts";
import { Store } from "../../edge/agent/snapshot/store.ts";
import { edgeLimits } from "../../schemas/limits.ts";

const { pollMs, quietPollMs, quietAfterMs } = edgeLimits;

describe("SnapshotSource", () => {
  let dir: string;
  let source: SnapshotSource;
  let etag = "one";
  let asked: number[] = [];
  let now = 0;
  const applied: string[] = [];
  beforeEach(() => {
    dir = mkdtempSync(path.join(os.tmpdir(), "landfall-source-"));
    etag = "one";
    asked = [];
    now = 1_000_000;
    applied.length = 0;
    const cloud = {
      getObject: async (_bucket: string, _key: string, _limit: number, known?: string) => {
        asked.push(now);
        return known === etag ? ("notModified" as const) : { text: etag, etag };
      },
    } as unknown as EdgeCloud;
    source = new SnapshotSource(cloud, new Store(dir), { bucket: "b", cell: "c1" });
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  const pass = async (ms: number, apply = async (text: string) => void applied.push(text)) => {
    asked = [];
    for (const until = now + ms; now < until; now += pollMs) await source.pull(now, apply).catch(() => {});
    return asked.length;
  };

  it("asks four times a second for a minute after a change, and once a second from then on", async () => {
    expect(await pass(quietAfterMs)).toBe(quietAfterMs / pollMs);
    expect(await pass(60_000)).toBe(60_000 / quietPollMs);
    etag = "two";
    expect(await pass(quietPollMs)).toBeGreaterThan(0);
    expect(applied).toEqual(["one", "two"]);
    expect(await pass(30_000)).toBe(30_000 / pollMs);
  });

  it("tries what it could not apply again after pauses that grow to ten seconds, and another manifest at once", async () => {
    const tries: number[] = [];
    const failing = async () => {
      tries.push(now);
      throw new Error("full disk");
    };
    await pass(120_000, failing);
    const pauses = tries.slice(1).map((at, index) => at - tries[index]!);
    expect(pauses.slice(0, 4)).toEqual([250, 500, 1000, 2000]);
    expect(pauses.slice(-3)).toEqual([10_000, 10_000, 10_000]);
    etag = "two";
    await pass(pollMs);
    expect(applied).toEqual(["two"]);
  });

  it("goes on asking four times a second for a manifest that it could not apply", async () => {
    await pass(2 * quietAfterMs);
    etag = "two";
    await pass(1000);
    const failing = async () => {
      throw new Error("full disk");
    };
    etag = "three";
    await pass(1000, failing);
    expect(await pass(2 * quietAfterMs, failing)).toBe((2 * quietAfterMs) / pollMs);
    await pass(20_000);
    expect(applied.at(-1)).toBe("three");
  });
});
