import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { profiles } from "../../local/latency.ts";
import { GlobalAccelerator } from "../../local/services/accelerator/accelerator.ts";
import { acceleratorService } from "../../local/services/accelerator/handlers.ts";
import { account, startGateway } from "../local/harness.ts";

interface State {
  listenerArn: string;
  groups: { region: string; dial: number; endpoints: { id: string; weight: number }[] }[];
}

const ga = new GlobalAccelerator({
  account,
  latency: profiles.none,
  addressesOf: () => [],
  instanceState: () => "running",
  instanceAddress: () => undefined,
  apply: async () => {},
  onFault: () => {},
});
const listenerArn = `arn:aws:globalaccelerator::${account}:accelerator/a/listener/l`;
let gateway: Awaited<ReturnType<typeof startGateway>>;
let dir: string;

beforeAll(async () => {
  gateway = await startGateway([acceleratorService(ga)]);
  dir = mkdtempSync(path.join(os.tmpdir(), "landfall-break-glass-"));
  const { arn } = ga.createAccelerator("a", listenerArn.replace(/\/listener\/.*/, ""));
  ga.createListener(
    arn,
    { protocol: "TCP", affinity: "NONE", portRanges: [{ FromPort: 443, ToPort: 443 }] },
    listenerArn,
  );
  for (const [region, ids] of [
    ["eu-west-3", ["i-1", "i-2"]],
    ["us-west-2", ["i-3"]],
  ] as const)
    ga.createGroup({
      ListenerArn: listenerArn,
      EndpointGroupRegion: region,
      EndpointConfigurations: ids.map((EndpointId) => ({ EndpointId })),
      IdempotencyToken: region,
    });
});
afterAll(async () => {
  await gateway.close();
  rmSync(dir, { recursive: true });
});

/** Runs the script as an operator would, with nothing of the project's environment. */
function run(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const { endpoint } = gateway.client();
  const env = { AWS_ENDPOINT_URL: endpoint, AWS_ACCESS_KEY_ID: "admin", AWS_SECRET_ACCESS_KEY: "secret" };
  return new Promise((resolve) => {
    execFile(process.execPath, ["cli/break-glass.mjs", ...args], { env }, (error, out, err) =>
      resolve({ code: error === null ? 0 : Number(error.code), out, err }),
    );
  });
}
const save = async (): Promise<State> => JSON.parse((await run("save", listenerArn)).out) as State;
function fileOf(state: State): string {
  const file = path.join(dir, "state.json");
  writeFileSync(file, JSON.stringify(state));
  return file;
}

describe("break-glass.mjs", () => {
  it("saves what is there, and applies nothing when nothing was edited", async () => {
    const state = await save();
    expect(
      state.groups.map(({ region, dial, endpoints }) => [
        region,
        dial,
        endpoints.map(({ id, weight }) => `${id} ${weight}`),
      ]),
    ).toEqual([
      ["eu-west-3", 100, ["i-1 128", "i-2 128"]],
      ["us-west-2", 100, ["i-3 128"]],
    ]);
    expect(await run("apply", fileOf(state))).toMatchObject({ code: 0, out: "nothing would change\n" });
  });

  it("shows what would change, and writes it only with --yes: whole lists, with every weight", async () => {
    const state = await save();
    state.groups[0]!.dial = 0;
    state.groups[1]!.endpoints[0]!.weight = 64;
    const file = fileOf(state);
    expect(await run("apply", file)).toMatchObject({
      code: 2,
      out: "weight of i-3 (us-west-2): 128 → 64\ndial of eu-west-3: 100 → 0 %\nnothing is done yet: say --yes\n",
    });
    expect((await save()).groups[0]!.dial).toBe(100);
    expect((await run("apply", file, "--yes")).code).toBe(0);
    expect((await save()).groups.map(({ dial, endpoints }) => [dial, endpoints.map(({ weight }) => weight)])).toEqual([
      [0, [128, 128]],
      [100, [64]],
    ]);
  });

  it.each([
    [
      "an empty list",
      (state: State) => state.groups[0]!.endpoints.splice(0),
      "eu-west-3 has no endpoint: an empty list would detach all of them",
    ],
    [
      "no weight anywhere",
      (state: State) => state.groups.forEach((group) => Object.assign(group, { dial: 0 })),
      "no endpoint would take users: leave one weight and its dial above 0",
    ],
    [
      "a weight that AWS refuses",
      (state: State) => Object.assign(state.groups[0]!.endpoints[0]!, { weight: 256 }),
      "the weight of i-1 is not a whole number from 0 to 255: 256",
    ],
  ])("refuses %s", async (_, edit, why) => {
    const state = await save();
    edit(state);
    const { code, err } = await run("apply", fileOf(state), "--yes");
    expect([code, err.includes(why)]).toEqual([1, true]);
  });

  it("says how it is used", async () => {
    expect(await run()).toMatchObject({ code: 1, err: expect.stringContaining("save LISTENER_ARN") });
  });
});
