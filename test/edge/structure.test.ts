import { describe, expect, it } from "vitest";
import { renderNginx } from "../../edge/agent/nginx/render.ts";
import { edgeSettings } from "../../edge/user-data.ts";
import { structureOn } from "../../local/edges/standalone.ts";

const structure = structureOn({ edgeTlsPort: 8443, portBase: 10000, portCount: 20000 });
const reports = { table: "reports", region: "us-west-2", roleId: "AROA" };
const settings = edgeSettings({ cell: "c1", region: "us-west-2", bucket: "b", reports, publicKeys: {} });
const id = "0123456789ab";

describe("the structure", () => {
  it("renders for an instance as in test/golden", async () => {
    const { conf, router } = renderNginx({ structure, id, settings, address: undefined });
    await expect(conf).toMatchFileSnapshot("../golden/instance.nginx.conf");
    await expect(router).toMatchFileSnapshot("../golden/instance.router.js");
  });

  it("renders for an edge on one address, with derived and shared names, as in test/golden", async () => {
    const nginx = { ...settings.nginx, user: "nobody nogroup", workers: 1, connections: 1024 };
    const names = { derivedNames: ["kube.{name}", "{hex}.mesh.example"], sharedNames: ["mesh.example"] };
    const small = { ...structure, ...names, portCount: 10 };
    const { conf, router } = renderNginx({
      structure: small,
      id,
      settings: { ...settings, nginx },
      address: "127.99.0.1",
    });
    await expect(conf).toMatchFileSnapshot("../golden/local.nginx.conf");
    expect(router).toContain('var templates = [["kube.","name",""],["","hex",".mesh.example"]];');
    expect(router).toContain('["mesh.example"].indexOf(name)');
  });

  it("refuses derived names that are no templates", () => {
    const odd = { ...structure, derivedNames: ["kube.name"] };
    expect(() => renderNginx({ structure: odd, id, settings, address: undefined })).toThrow("kube.name");
  });

  it("refuses a placeholder without a value", () => {
    expect(() =>
      renderNginx({ structure: { ...structure, nginxConf: "{{oops}}" }, id, settings, address: undefined }),
    ).toThrow("{{oops}}");
  });
});
