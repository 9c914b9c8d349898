import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { renderNginx } from "../../edge/agent/nginx/render.ts";
import { edgeSettings } from "../../edge/user-data.ts";
import { nginxHere } from "../../local/edges/edge.ts";
import { structureOn } from "../../local/edges/standalone.ts";

const structure = structureOn({ edgeTlsPort: 8443, portBase: 10000, portCount: 20000 });
const settings = edgeSettings({ cell: "c1", region: "us-west-2", bucket: "b", publicKeys: {} });
const id = "0123456789ab";

describe("the structure", () => {
  it("renders for an instance as in test/golden", async () => {
    const { conf, router } = renderNginx({ structure, id, settings, address: undefined });
    await expect(conf).toMatchFileSnapshot("../golden/instance.nginx.conf");
    await expect(router).toMatchFileSnapshot("../golden/instance.router.js");
  });

  it("renders for a local edge as in test/golden, and nginx takes it", async () => {
    const run = mkdtempSync(path.join(os.tmpdir(), "landfall-structure-"));
    try {
      const local = {
        ...settings,
        runDir: run,
        nginx: { ...settings.nginx, ...nginxHere(), workers: 1, connections: 1024 },
      };
      const small = { ...structure, portCount: 10 };
      const { conf, router } = renderNginx({ structure: small, id, settings: local, address: "127.99.0.1" });
      const anywhere = (text: string) =>
        text.replaceAll(run, "/run/landfall").replace(/^load_module .*\/([^/]+);$/gm, "load_module $1;");
      await expect(anywhere(conf)).toMatchFileSnapshot("../golden/local.nginx.conf");
      mkdirSync(path.join(run, "logs"));
      writeFileSync(path.join(run, "nginx.conf"), conf);
      writeFileSync(path.join(run, `router-${id}.js`), router);
      const { stderr } = await promisify(execFile)("nginx", [
        "-t",
        "-p",
        run,
        "-e",
        path.join(run, "logs/error.log"),
        "-c",
        path.join(run, "nginx.conf"),
      ]);
      expect(stderr).toContain("test is successful");
    } finally {
      rmSync(run, { recursive: true, force: true });
    }
  });

  it("refuses a placeholder that nobody fills", () => {
    expect(() =>
      renderNginx({ structure: { ...structure, nginxConf: "{{oops}}" }, id, settings, address: undefined }),
    ).toThrow("{{oops}}");
  });
});
