import { describe, expect, it } from "vitest";
import { renderNginx } from "../../edge/agent/nginx/render.ts";
import { edgeSettings } from "../../edge/user-data.ts";
import { structureOn } from "../../local/edges/standalone.ts";

const structure = structureOn({ edgeTlsPort: 8443, portBase: 10000, portCount: 20000 });
const reports = { table: "reports", region: "us-west-2", roleId: "AROA" };
const settings = edgeSettings({ cell: "c1", region: "us-west-2", bucket: "b", reports, publicKeys: {} });
const id = "0123456789ab";
/** A t4g.small. */
const memoryBytes = 2 * 1024 ** 3;

describe("the structure", () => {
  it("renders for an instance as in test/golden", async () => {
    const { conf, router } = renderNginx({ structure, id, settings, memoryBytes, address: undefined });
    await expect(conf).toMatchFileSnapshot("../golden/instance.nginx.conf");
    await expect(router).toMatchFileSnapshot("../golden/instance.router.js");
  });

  it("renders for an edge on one address, with derived and shared names, as in test/golden", async () => {
    const nginx = { ...settings.nginx, workers: 1, connections: 1024 };
    const names = { derivedNames: ["kube.{name}", "{hex}.mesh.example"], sharedNames: ["mesh.example"] };
    const small = { ...structure, ...names, portCount: 10 };
    const { conf, router } = renderNginx({
      structure: small,
      id,
      settings: { ...settings, nginx },
      memoryBytes,
      address: "127.99.0.1",
    });
    await expect(conf).toMatchFileSnapshot("../golden/local.nginx.conf");
    expect(router).toContain('var templates = [["kube.","name",""],["","hex",".mesh.example"]];');
    expect(router).toContain('["mesh.example"].indexOf(name)');
  });

  it("counts an IPv6 network of 64 bits as one source, and an IPv4 address as one", () => {
    const [, block = ""] = /map \$remote_addr \$source_net \{([\s\S]*?)\n {2}\}/.exec(structure.nginxConf) ?? [];
    const patterns = [...block.matchAll(/"~(.*)" "?\$\{?([a-z_]+)\}?([^";]*)"?;/g)].map(
      ([, regexp, group, more]) => [new RegExp(regexp!), group!, more!] as const,
    );
    expect(patterns).toHaveLength(2);
    const sourceOf = (address: string) => {
      for (const [regexp, group, more] of patterns) {
        const found = regexp.exec(address);
        if (found) return `${found.groups![group]}${more}`;
      }
      return address;
    };
    expect(sourceOf("203.0.113.7")).toBe("203.0.113.7");
    expect(sourceOf("2001:db8:1:2:3:4:5:6")).toBe("2001:db8:1:2");
    expect(sourceOf("2001:db8:1:2::9")).toBe("2001:db8:1:2");
    expect(sourceOf("2001:db8:1:3::9")).toBe("2001:db8:1:3");
    for (const zeros of ["2001:db8::9", "2001:db8::1:2:3:4"]) expect(sourceOf(zeros)).toBe("2001:db8::");
    expect([sourceOf("::1"), sourceOf("fd00::1")]).toEqual(["::", "fd00::"]);
  });

  it("refuses derived names that are no templates", () => {
    const odd = { ...structure, derivedNames: ["kube.name"] };
    expect(() => renderNginx({ structure: odd, id, settings, memoryBytes, address: undefined })).toThrow("kube.name");
  });

  it("refuses a placeholder without a value", () => {
    expect(() =>
      renderNginx({
        structure: { ...structure, nginxConf: "{{oops}}" },
        id,
        settings,
        memoryBytes,
        address: undefined,
      }),
    ).toThrow("{{oops}}");
  });
});
