import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { isAlive } from "../../local/processes.ts";
import type { Endpoints } from "../../schemas/local.ts";
import { eventually } from "../local/harness.ts";

const root = path.resolve(import.meta.dirname, "../..");
let dir: string;
let child: ChildProcess | undefined;
beforeEach(() => {
  dir = mkdtempSync(path.join(os.tmpdir(), "landfall-processes-"));
});
afterEach(() => {
  child?.kill("SIGKILL");
  rmSync(dir, { recursive: true, force: true });
});

const childrenOf = (pid: number): number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8")
    .split(" ")
    .map(Number)
    .filter((each) => each > 0);
const tree = (pid: number): number[] => [pid, ...childrenOf(pid).flatMap(tree)];

/** Starts `npm run …` as a user does, and collects its output. */
function start(script: string, ...args: string[]) {
  const env: NodeJS.ProcessEnv = { ...process.env, LANDFALL_LOCAL: dir, VITEST: undefined };
  child = spawn("npm", ["run", script, "--", ...args], {
    cwd: root,
    env,
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  let said = "";
  child.stdout?.on("data", (chunk) => {
    said += chunk;
  });
  child.stderr?.on("data", (chunk) => {
    said += chunk;
  });
  return { child, said: () => said };
}

async function startCloud() {
  const { child: npm } = start("dev", "--port", "0");
  const file = path.join(dir, "endpoints.json");
  const endpoints = await eventually(
    () => (existsSync(file) ? (JSON.parse(readFileSync(file, "utf8") || "{}") as Endpoints) : undefined),
    (now) =>
      now?.edges?.length === 6 && now.edges.every(({ pid, agentPid }) => pid !== undefined && agentPid !== undefined),
    60_000,
  );
  const pids = [...new Set([...tree(npm.pid!), ...endpoints!.edges.flatMap(({ pid, agentPid }) => [pid!, agentPid!])])];
  expect(pids.length).toBeGreaterThan(14); // npm, setup, cloud, database, 6 agents, 6 nginx and their workers
  return { npm, pids };
}

describe("npm run dev", () => {
  it.each<[string, (npm: ChildProcess) => void]>([
    ["Ctrl-C", (npm) => process.kill(-npm.pid!, "SIGINT")],
    ["SIGTERM", (npm) => npm.kill("SIGTERM")],
    ["a killed npm", (npm) => npm.kill("SIGKILL")],
    [
      "a killed cloud",
      (npm) => process.kill(childrenOf(childrenOf(npm.pid!)[0] ?? npm.pid!)[0] ?? npm.pid!, "SIGKILL"),
    ],
  ])(
    "leaves no process after %s",
    async (_, end) => {
      const { npm, pids } = await startCloud();
      end(npm);
      await eventually(
        () => pids.filter(isAlive),
        (left) => left.length === 0,
        20_000,
      );
    },
    120_000,
  );
});

describe("npm run demo", () => {
  it("leaves no process after Ctrl-C in the middle of its run", async () => {
    const { child: npm, said } = start("demo");
    await eventually(said, (text) => text.includes("served by every edge"), 60_000);
    const pids = tree(npm.pid!);
    process.kill(-npm.pid!, "SIGINT");
    await eventually(
      () => pids.filter(isAlive),
      (left) => left.length === 0,
      20_000,
    );
    expect(said()).toContain("SIGINT: shutting down");
  }, 120_000);
});

describe("npm run landfall", () => {
  const say = async (...args: string[]) => {
    const { child: npm, said } = start("landfall", ...args);
    const code = await new Promise((resolve) => npm.on("close", resolve));
    return { code, said: said() };
  };

  it("explains what to do when no cloud runs", async () => {
    expect(await say("tenant", "list")).toMatchObject({
      code: 1,
      said: expect.stringContaining("start one with `npm run dev`"),
    });
  });
});
