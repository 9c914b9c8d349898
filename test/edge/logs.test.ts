import {
  appendFileSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { endedLog, errorLog, failedLog, NginxLogs, nginxLogs } from "../../edge/agent/nginx/logs.ts";
import { readLines, Tail } from "../../edge/agent/tail.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(path.join(os.tmpdir(), "landfall-logs-"));
});
afterEach(() => rmSync(dir, { recursive: true }));

describe("a file that others append to", () => {
  const file = () => path.join(dir, "log");
  const replace = (tail: Tail) => {
    renameSync(file(), path.join(dir, "old"));
    writeFileSync(file(), "");
    tail.replaced();
  };

  it("is read in bounded steps, however long it is made, and no line of it fills the memory", () => {
    writeFileSync(file(), "first\n");
    truncateSync(file(), 1024 ** 4);
    const tail = new Tail(file(), "start");
    const began = performance.now();
    expect(tail.read()).toEqual(["first"]);
    expect(performance.now() - began).toBeLessThan(2000); // a terabyte takes minutes
    tail.close();
    writeFileSync(file(), `${"x".repeat(100_000)}`);
    const long = new Tail(file(), "start");
    expect(long.read()).toEqual([]);
    appendFileSync(file(), "y\nnext\n");
    expect(long.read()).toEqual(["y", "next"]);
    long.close();
    expect(readLines(path.join(dir, "none"))).toEqual([]);
  });

  it("says that its writer is left behind, as long as lines come in the replaced file and none in the new one", () => {
    writeFileSync(file(), "");
    const tail = new Tail(file(), "end");
    replace(tail);
    tail.read();
    expect(tail.isLeftBehind).toBe(false);
    for (let times = 0; times < 3; times++) {
      tail.read(); // quiet for a while
      appendFileSync(path.join(dir, "old"), "late\n");
      expect(tail.read()).toEqual(["late"]);
      expect(tail.isLeftBehind).toBe(true);
    }
    appendFileSync(file(), "new\n");
    appendFileSync(path.join(dir, "old"), "last\n");
    expect(tail.read()).toEqual(["last", "new"]);
    expect(tail.isLeftBehind).toBe(false);
    tail.close();
  });
});

describe("nginx's logs", () => {
  let reopened: number;
  let logs: NginxLogs;
  const at = (name: string) => path.join(dir, name);
  beforeEach(() => {
    mkdirSync(at("logs"));
    for (const name of nginxLogs) writeFileSync(at(name), "");
    reopened = 0;
    logs = new NginxLogs(dir, undefined, () => reopened++);
  });

  it("tell which backends took no connection, and nothing that is no backend", () => {
    appendFileSync(at(failedLog), "10.0.0.1:3080\n[fd00::1]:22\nunix:/x\n-\nrm -rf / 10.0.0.1:1\n");
    expect(logs.readFailed()).toEqual(["10.0.0.1:3080", "[fd00::1]:22"]);
    expect(logs.readFailed()).toEqual([]);
  });

  it.each([
    [failedLog, () => logs.readFailed()],
    [endedLog, () => logs.readEnded()],
    [errorLog, () => logs.boundErrors()],
  ])("are replaced when they are large, and opened again (%s)", (name, read) => {
    appendFileSync(at(name), "x\n".repeat(1024 * 1024));
    read();
    expect([statSync(at(name)).size, reopened]).toEqual([2 * 1024 * 1024, 0]);
    appendFileSync(at(name), "x\n".repeat(1024 * 1024 + 1));
    read();
    expect([statSync(at(name)).size, reopened]).toEqual([0, 1]);
  });

  it("are opened again while nginx still writes to the replaced one: a signal may be lost", () => {
    const nginxs = openSync(at(endedLog), "a");
    writeSync(nginxs, "x\n".repeat(2 * 1024 * 1024 + 1));
    logs.readEnded();
    expect(reopened).toBe(1);
    writeSync(nginxs, "late\n");
    expect(logs.readEnded()).toEqual(["late"]);
    expect(reopened).toBe(2);
    closeSync(nginxs);
    appendFileSync(at(endedLog), "y\n");
    expect(logs.readEnded()).toEqual(["y"]);
    expect(reopened).toBe(2);
  });
});
