/** The README's "Try it" section, run as it stands: only addresses, ports and paths of this test's own cloud and servers differ. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Endpoints } from "../../schemas/local.ts";
import { type Server, startSshd, userName } from "../fixtures/servers.ts";
import { freePort } from "../fixtures/sockets.ts";
import { eventually } from "../local/harness.ts";

const run = promisify(execFile);
const root = path.resolve(import.meta.dirname, "../..");
const forSeconds = 120;

const [, section = ""] = /\n## Try it\n([\s\S]*?)\n## /.exec(readFileSync(path.join(root, "README.md"), "utf8")) ?? [];
const commands = section
  .split("\n")
  .filter((one) => one.startsWith("    "))
  .map((one) => one.slice(4));
/** The README's line that begins with this text. */
const line = (text: string) => commands.find((one) => one.startsWith(text)) ?? "";
const serverLines = commands.slice(
  commands.findIndex((one) => one.startsWith("openssl req")),
  commands.indexOf("done") + 1,
);

const dir = mkdtempSync(path.join(os.tmpdir(), "landfall-readme-"));
const env: NodeJS.ProcessEnv = { ...process.env, LANDFALL_LOCAL: dir, VITEST: undefined };
let cloud: ChildProcess;
let endpoints: Endpoints;
let sshd: Server & { key: string };
let serverPid: number | undefined;
let tlsPort: number;

/** What differs from the README on this machine. */
function here(text: string): string {
  const network = endpoints.accelerators[0]!.address.split(".")[1];
  const changes: [string, string][] = [
    ["/tmp/", `${dir}/`],
    ["examples/tenant.json", path.join(dir, "tenant.json")],
    ["127.77.", `127.${network}.`],
    ["127.0.0.1:9443", `127.0.0.1:${tlsPort}`],
    ["127.0.0.1:22 ", `127.0.0.1:${sshd.port} `],
    ["ssh -b", `ssh -i ${sshd.key} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -b`],
    ["you@", `${userName}@`],
  ];
  return changes.reduce((changed, [from, to]) => changed.replaceAll(from, to), text);
}

/** Runs lines of the README in a shell. Throws if one fails or takes longer than 30 s. */
async function shell(text: string, more = ""): Promise<string> {
  expect(text).not.toBe("");
  const script = `set -e\n{ ${here(text)}\n} </dev/null ${more}`;
  const { stdout } = await run("bash", ["-c", script], { cwd: root, env, timeout: 30_000 });
  return stdout;
}

beforeAll(async () => {
  [sshd, tlsPort] = await Promise.all([startSshd(path.join(dir, "sshd")), freePort()]);
  cloud = spawn("npm", ["run", "dev", "--", "--port", "0"], { cwd: root, env, stdio: "ignore", detached: true });
  const file = path.join(dir, "endpoints.json");
  endpoints = await eventually(
    () => (existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as Endpoints) : ({ edges: [] } as never)),
    ({ edges }) =>
      edges.length === 6 && edges.every(({ pid, agentPid }) => pid !== undefined && agentPid !== undefined),
    60_000,
  );
}, 120_000);

afterAll(async () => {
  if (serverPid !== undefined) process.kill(serverPid);
  process.kill(-cloud.pid!, "SIGINT");
  await new Promise((resolve) => cloud.once("close", resolve));
  await sshd.stop();
  rmSync(dir, { recursive: true, force: true });
}, 60_000);

describe('the README\'s "Try it"', () => {
  it("writes the example's record, and shows the edges", async () => {
    expect(await shell(line("npm run landfall -- tenant put"))).toMatch(/served\s+all/);
    expect(await shell(line("npm run landfall -- status"))).toContain("HEALTHY");
  }, 60_000);

  it("gives the tenant a server that serves one connection at a time, and a real sshd", async () => {
    const log = path.join(dir, "server.log");
    serverPid = Number(await shell(serverLines.join("\n"), `>${log} 2>&1\necho $!`));
    expect(readFileSync(log, "utf8").match(/127\.\d+\.10[012]\.1:3080/g)).toHaveLength(3);
    expect(await shell(line("npm run landfall -- local pod"))).toMatch(/127\.\d+\.100\.1:3023/);
  }, 60_000);

  it(`reaches both from far away for ${forSeconds} seconds, without one failure`, async () => {
    let rounds = 0;
    for (const until = Date.now() + forSeconds * 1000; Date.now() < until; rounds++) {
      expect(await shell(line("curl -sk"))).toContain("<HTML>");
      expect(await shell(line("openssl s_client"))).toMatch(/subject=CN ?= ?acme/);
      expect(await shell(`${line("ssh -b").replace(/ +#.*$/, "")} 'echo $((6 * 7))'`)).toBe("42\n");
      await sleep(500);
    }
    expect(rounds).toBeGreaterThan(20);
  }, 180_000);
});
