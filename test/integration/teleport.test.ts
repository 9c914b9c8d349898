/** Two tenants with a proxy like Teleport's: each name and ALPN entry that its clients send leads to its own tenant. */
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openPod } from "../../local/controls.ts";
import { type Certificates, makeCertificates, type Server } from "../fixtures/servers.ts";
import { ask, type Heard, hexOf, startTeleport } from "../fixtures/teleport.ts";
import { domain, homeRegion, World } from "./world.ts";

/** The second one's name is so long that a label made of it has more than 63 bytes, which DNS does not allow and Go sends. */
const clusters = { acme: `acme.${domain}`, globex: `globex-industries-of-the-world.access.example` };
type Tenant = keyof typeof clusters;
const tenants = Object.keys(clusters) as Tenant[];

let world: World;
let servers: Server[];
let certificates: Certificates;

beforeAll(async () => {
  world = await World.start({ edgesPerGroup: 1, names: [] });
  certificates = await makeCertificates(path.join(world.dir, "certificates"), Object.values(clusters));
  const { geography, network } = world.cloud.context;
  const ports = { geography, network, pods: world.cloud.pods };
  servers = await Promise.all(
    tenants.map((tenant) => startTeleport({ name: clusters[tenant], ...certificates.server })),
  );
  for (const [index, tenant] of tenants.entries()) {
    const target = { region: homeRegion, targetHost: "127.0.0.1", targetPort: servers[index]!.port, port: 3080 };
    const { address } = await openPod(target, ports);
    const name = clusters[tenant];
    await world.put(
      world.record(tenant, {
        hostnames: [name],
        wildcards: [`*.${name}`],
        protocols: { tls: { port: 3080, check: "tls" } },
        backends: { [homeRegion]: [address] },
      }),
    );
    await world.settled(tenant, "Admitted");
  }
}, 120_000);
afterAll(async () => {
  await Promise.all((servers ?? []).map((server) => server.stop()));
  await world?.stop();
});

const heard = (servername: string, ...alpn: string[]) => {
  const { host, port } = world.tls("acme");
  return ask({ host, port, from: world.from("tokyo"), servername, alpn, ca: certificates.ca });
};

describe.each(tenants)("%s", (tenant) => {
  const name = clusters[tenant];
  const hex = `${hexOf(name)}.teleport.cluster.local`;
  const rows: [who: string, servername: string, alpn: string[], service: Heard["service"]][] = [
    ["a browser", name, ["h2", "http/1.1"], "web"],
    ["curl without ALPN", name, [], "web"],
    ["tsh for SSH", name, ["teleport-proxy-ssh"], "ssh"],
    ["a web application", `grafana.${name}`, ["h2", "http/1.1"], "app"],
    ["a web application with an underscore in its name", `my_app.${name}`, ["http/1.1"], "app"],
    ["kubectl through tsh", `kube-teleport-proxy-alpn.${name}`, ["teleport-kube", "h2"], "kube"],
    ["an agent that dials the auth service", hex, [`teleport-auth@${name}`], "auth"],
    ["a plugin that calls every cluster by one name", "teleport.cluster.local", [`teleport-auth@${hex}`], "auth"],
    ["psql with sslnegotiation=direct", name, ["postgresql"], "database"],
    ["tsh for MySQL", name, ["teleport-mysql"], "database"],
  ];

  it.each(rows)("is reached by %s", async (_, servername, alpn, service) => {
    expect(await heard(servername, ...alpn)).toMatchObject({ cluster: name, service, servername });
  });
});

describe("a client of one tenant", () => {
  it("reaches no other one, whatever it derives from another's name", async () => {
    const [acme, globex] = [clusters.acme, clusters.globex];
    expect(
      await heard("teleport.cluster.local", `teleport-auth@${hexOf("nobody.example")}.teleport.cluster.local`),
    ).toBe("refused");
    expect(await heard(`${hexOf("nobody.example")}.teleport.cluster.local`, "teleport-auth@nobody.example")).toBe(
      "refused",
    );
    // The server name decides, and the proxy itself refuses what is not its own.
    expect(await heard(acme, `teleport-auth@${globex}`)).toBe("refused");
    expect(await heard(globex, "h2")).toMatchObject({ cluster: globex });
  });

  it("takes no name below another tenant's, nor what clients make of it", async () => {
    const thief = {
      tenantId: "thief",
      protocols: { tls: 3080 },
      homeRegion,
      backends: { [homeRegion]: [world.pods[homeRegion]!] },
    };
    await world.put({ ...thief, hostnames: [`kube-teleport-proxy-alpn.${clusters.globex}`] });
    const { reasons } = (await world.settled("thief", "Rejected"))!;
    expect(reasons.join()).toContain(`all names below ${clusters.globex} belong to the tenant of`);
  });
});
