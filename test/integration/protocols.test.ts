/** Real programs use their protocols through an accelerator, an edge and a pod; none is terminated in between. */
import { execFile } from "node:child_process";
import { readdirSync, readFileSync, watch } from "node:fs";
import net from "node:net";
import path from "node:path";
import { promisify } from "node:util";
import { BatchWriteCommand } from "@aws-sdk/lib-dynamodb";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import WebSocket from "ws";
import { openPod } from "../../local/controls.ts";
import { Dialogue } from "../fixtures/dialogue.ts";
import {
  type Certificates,
  makeCertificates,
  type Server,
  startMariadb,
  startPostgres,
  startSshd,
  startWeb,
  userName,
} from "../fixtures/servers.ts";
import { eventually } from "../local/harness.ts";
import { domain, homeRegion, World } from "./world.ts";

const run = promisify(execFile);
const exact = `real.${domain}`;
const parent = "apps.real-tenant.example";
const below = `grafana.${parent}`;
/** A database that is reached by name, and what clients make of the first name. */
const database = `db.${domain}`;
const kube = `kube-teleport-proxy-alpn.${exact}`;
const tlsPort = 8443;

let world: World;
let sshd: Server & { key: string };
let postgres: Server;
let mariadb: Server;
let web: Server;
let certificates: Certificates;
let ports: Record<string, number>;
/** The address of the pod with all servers. */
let pod: string;

beforeAll(async () => {
  world = await World.start({ edgesPerGroup: 1, names: ["other"] });
  certificates = await makeCertificates(path.join(world.dir, "certificates"), [exact, `*.${parent}`, database, kube]);
  [sshd, postgres, mariadb, web] = await Promise.all([
    startSshd(path.join(world.dir, "sshd")),
    startPostgres(certificates.server),
    startMariadb(),
    startWeb(certificates),
  ]);
  const context = {
    geography: world.cloud.context.geography,
    network: world.cloud.context.network,
    pods: world.cloud.pods,
  };
  const region = homeRegion;
  const target = (server: Server) => ({ region, targetHost: "127.0.0.1", targetPort: server.port });
  ({ address: pod } = await openPod({ ...target(web), port: 3080 }, context));
  await openPod({ ...target(sshd), port: 3023, address: pod }, context);
  await openPod({ ...target(postgres), port: 3036, address: pod }, context);
  await openPod({ ...target(mariadb), port: 3306, address: pod }, context);
  await world.put(record([pod]));
  await world.put(
    world.record("database", {
      hostnames: [database],
      protocols: { tls: { port: 3036, check: "none" }, web: { port: 3080, alpn: "h2" } },
      backends: { [homeRegion]: [pod] },
    }),
  );
  const view = await world.settled("real", "Admitted");
  ports = view!.ports;
  await world.settled("database", "Admitted");
}, 120_000);
afterAll(async () => {
  await Promise.all([sshd, postgres, mariadb, web].map((server) => server?.stop()));
  await world?.stop();
});

/** An unused address in the pods' range. */
const spareAddress = (index: number) => world.cloud.context.geography.podAddress(homeRegion, 150 + index);
const record = (addresses: string[]) =>
  world.record("real", {
    hostnames: [exact],
    wildcards: [`*.${parent}`],
    protocols: { tls: 3080, ssh: 3023, postgres: 3036, mysql: 3306 },
    backends: { [homeRegion]: addresses },
  });

const sshArgs = (city: string) => [
  ...["-i", sshd.key, "-b", world.from(city), "-p", String(ports.ssh)],
  ...["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"],
  `${userName}@${world.accelerator.address}`,
];
const psqlArgs = () => [
  `host=${world.accelerator.address} port=${ports.postgres} user=tenant dbname=postgres sslmode=disable`,
  ...["--no-psqlrc", "--tuples-only", "--no-align"],
];
const curl = async (name: string, ...args: string[]) => {
  const { stdout } = await run("curl", [
    ...[
      "--silent",
      "--show-error",
      "--max-time",
      "10",
      "--interface",
      world.from("tokyo"),
      "--cacert",
      certificates.ca,
    ],
    ...["--resolve", `${name}:${tlsPort}:${world.accelerator.address}`, ...args, `https://${name}:${tlsPort}/`],
  ]);
  return JSON.parse(stdout) as { client: string; protocol: string; servername: string };
};
const asAdmin = () => ["--cert", certificates.client.cert, "--key", certificates.client.key];
const webSocket = async () => {
  const socket = new WebSocket(`wss://${exact}:${tlsPort}/socket`, {
    ca: readFileSync(certificates.ca),
    cert: readFileSync(certificates.client.cert),
    key: readFileSync(certificates.client.key),
    localAddress: world.from("paris"),
    lookup: (_name, _options, done) => done(null, world.accelerator.address, 4),
  });
  await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
  return socket;
};
const echo = (socket: WebSocket, text: string) =>
  new Promise<string>((resolve, reject) => {
    socket.once("message", (message) => resolve(String(message)));
    socket.once("close", () => reject(new Error("the WebSocket was closed")));
    socket.send(text);
  });

describe("OpenSSH", () => {
  it("logs in through a raw slot and runs a command", async () => {
    const { stdout } = await run("ssh", [...sshArgs("sydney"), "echo $((6 * 7))"], { timeout: 15_000 });
    expect(stdout).toBe("42\n");
  });

  it("copies a megabyte without corruption", async () => {
    const script = `head -c 1000000 /dev/zero | tr '\\0' x | ssh ${sshArgs("paris").join(" ")} sha256sum`;
    const { stdout } = await run("sh", ["-c", script], { timeout: 15_000 });
    const { stdout: here } = await run("sh", ["-c", "head -c 1000000 /dev/zero | tr '\\0' x | sha256sum"]);
    expect(stdout).toBe(here);
  });
});

describe("psql", () => {
  it("queries PostgreSQL through a raw slot", async () => {
    const { stdout } = await run("psql", [...psqlArgs(), "--command", "select 6 * 7"], { timeout: 15_000 });
    expect(stdout).toBe("42\n");
  });

  it.each(["require", "verify-full"])("reaches it by name on the TLS port (sslmode=%s)", async (mode) => {
    const { address } = world.accelerator;
    const where = `host=${database} hostaddr=${address} port=${tlsPort} user=tenant dbname=postgres`;
    const how = `sslmode=${mode} sslrootcert=${certificates.ca} gssencmode=disable`;
    const asked = "select ssl, 6 * 7 from pg_stat_ssl where pid = pg_backend_pid()";
    const shown = ["--no-psqlrc", "--tuples-only", "--no-align"];
    const { stdout } = await run("psql", [`${where} ${how}`, ...shown, "--command", asked], { timeout: 15_000 });
    expect(stdout).toBe("t|42\n");
  });

  it("does not reach it without TLS", async () => {
    const { address } = world.accelerator;
    const where = `host=${database} hostaddr=${address} port=${tlsPort} user=tenant dbname=postgres sslmode=disable`;
    await expect(run("psql", [where, "--command", "select 1"], { timeout: 15_000 })).rejects.toThrow(/closed/);
  });
});

describe("mariadb", () => {
  const query = async (sql: string) => {
    const at = [`--host=${world.accelerator.address}`, `--port=${ports.mysql}`, "--user=tenant", "--protocol=tcp"];
    const { stdout } = await run("mariadb", ["--no-defaults", ...at, "--batch", "--skip-column-names", "-e", sql], {
      timeout: 15_000,
    });
    return stdout.trim();
  };
  const aborted = async () => Number((await query("show global status like 'Aborted_connects'")).split("\t")[1]);

  it("queries MariaDB through a raw slot", async () => {
    expect(await query("select 6 * 7")).toBe("42");
  });

  it("is never counted as a client that fails, because no edge checks it, unless its record asks for checks", {
    timeout: 60_000,
  }, async () => {
    expect(await aborted()).toBe(1); // the test's own look, when it was started
    const checked = {
      ...record([pod]),
      protocols: { ...record([pod]).protocols, mysql: { port: 3306, check: "tcp" } },
    };
    await world.put(checked);
    await world.settled("real", "Admitted", 2);
    // This is what a bare connection does to it. An edge's ends with a reset, which may overtake it on its way through the pod:
    // so the test makes one itself, too.
    await new Promise<void>((resolve) => {
      const socket = net
        .connect(mariadb.port, "127.0.0.1")
        .once("data", () => socket.destroy())
        .once("close", () => resolve());
    });
    await eventually(aborted, (count) => count > 1, 35_000);
    await world.put(record([pod]));
    await world.settled("real", "Admitted", 3);
  });
});

describe("kubectl", () => {
  it("reaches the tenant at the endpoint's address, with the server name that tsh gives it and a client certificate", async () => {
    const { stdout } = await run(
      "kubectl",
      [
        ...[`--server=https://${world.accelerator.address}:${tlsPort}`, `--tls-server-name=${kube}`],
        ...[`--certificate-authority=${certificates.ca}`, `--client-certificate=${certificates.client.cert}`],
        ...[`--client-key=${certificates.client.key}`, "--kubeconfig=/dev/null", "get", "--raw", "/version"],
      ],
      { timeout: 15_000, env: { PATH: process.env.PATH, HOME: world.dir } },
    );
    expect(JSON.parse(stdout)).toEqual({ client: "kube-admin", protocol: "h2", servername: kube });
  });
});

describe("curl", () => {
  it.each([
    ["by its exact name", exact],
    ["below a wildcard", below],
  ])("speaks HTTP/2 %s with a client certificate that the tenant's own server sees", async (_, name) => {
    expect(await curl(name, "--http2", ...asAdmin())).toEqual({
      client: "kube-admin",
      protocol: "h2",
      servername: name,
    });
  });

  it("reaches the tenant by the name that kubectl derives, and another protocol by ALPN at one name", async () => {
    expect(await curl(kube, "--http2", ...asAdmin())).toMatchObject({ servername: kube });
    expect(await curl(database, "--http2", ...asAdmin())).toMatchObject({ servername: database, protocol: "h2" });
    await expect(curl(database, "--http1.1", ...asAdmin())).rejects.toThrow(); // that is the database
  });

  it("speaks HTTP/1.1 too", async () => {
    expect(await curl(exact, "--http1.1", ...asAdmin())).toMatchObject({ client: "kube-admin", protocol: "http/1.1" });
  });

  it("is refused by the tenant's server, not by the edge, if it has no certificate", async () => {
    await expect(curl(exact, "--http2")).rejects.toThrow(/alert|certificate required/);
  });
});

describe("openssl s_client", () => {
  it.each([
    ["an exact name", exact],
    ["a name below a wildcard", below],
  ])("verifies the tenant's own certificate for %s", async (_, name) => {
    const { stdout } = await run(
      "sh",
      [
        "-c",
        'exec openssl s_client -connect "$1" -servername "$2" -verify_hostname "$2" -CAfile "$3" </dev/null',
        "sh",
      ].concat(`${world.accelerator.address}:${tlsPort}`, name, certificates.ca),
      { timeout: 15_000 },
    );
    expect(stdout).toContain("Verify return code: 0 (ok)");
    expect(stdout).toContain(`Verified peername: `);
  });
});

describe("the records in examples/", () => {
  const dir = path.resolve(import.meta.dirname, "../../examples");
  const files = readdirSync(dir);
  const recordIn = (file: string) => {
    const { network } = world.cloud.context.geography;
    const text = readFileSync(path.join(dir, file), "utf8").replaceAll("127.77.", `127.${network}.`);
    return JSON.parse(text) as Record<string, unknown> & { tenantId: string };
  };

  it.each(files)("%s is served", async (file) => {
    const record = recordIn(file);
    await world.put(record);
    expect(await world.settled(record.tenantId, "Admitted")).toMatchObject({ served: "all", reasons: [] });
  });

  it("are all told of in the documentation", () => {
    const docs = ["docs/hosting-teleport.md", "README.md"].map((file) =>
      readFileSync(path.resolve(dir, "..", file), "utf8"),
    );
    const isTold = (file: string) =>
      docs.some((text) => text.includes(`examples/${file}`) || text.includes(`…-${file.split("-").at(-1)}`));
    expect(files.filter((file) => !isTold(file))).toEqual([]);
  });
});

describe("open sessions of every kind", () => {
  it("stay open during 1,000 route changes of other tenants and of their own spare backends", async () => {
    const shell = new Dialogue("ssh", ["-tt", ...sshArgs("seattle"), "cat"]);
    const database = new Dialogue("psql", psqlArgs());
    const socket = await webSocket();
    const changed = countChanges();
    try {
      await shell.ask("first", "first\r\nfirst");
      await database.ask("create temporary table kept (n int); insert into kept values (7);", "INSERT 0 1");
      expect(await echo(socket, "first")).toBe("first");
      const others = Array.from({ length: 500 }, (_, index) => `other-${index}`);
      await putAll(others, pod);
      for (let spare = 1; spare <= 5; spare++) await world.put(record([pod, spareAddress(spare)].toReversed()));
      await eventually(changed, (count) => count >= 500, 60_000);
      await putAll(others, spareAddress(50));
      await world.put(record([pod]));
      await eventually(changed, (count) => count >= 1000, 60_000);
      await shell.ask("last", "last\r\nlast");
      await database.ask("select n from kept;", "7");
      expect(await echo(socket, "last")).toBe("last");
    } finally {
      shell.stop();
      database.stop();
      socket.terminate();
    }
  }, 180_000);

  /** Counts the route files that one edge replaces from now on. */
  function countChanges(): () => number {
    let count = 0;
    const { dir } = world.cloud.endpoints().edges[0]!;
    const kinds = ["n", "p"].map((kind) =>
      watch(path.join(dir, "run/routes", kind), (event, name) => {
        if (event === "rename" && name !== null && !name.endsWith("~")) count++;
      }),
    );
    return () => {
      if (count >= 1000) for (const watcher of kinds) watcher.close();
      return count;
    };
  }

  async function putAll(tenants: string[], backend: string): Promise<void> {
    const TableName = world.cloud.endpoints().tables.tenants;
    for (let at = 0; at < tenants.length; at += 25) {
      const Items = tenants
        .slice(at, at + 25)
        .map((tenantId) => world.record(tenantId, { backends: { [homeRegion]: [backend] } }));
      await world.tables.send(
        new BatchWriteCommand({ RequestItems: { [TableName]: Items.map((Item) => ({ PutRequest: { Item } })) } }),
      );
    }
  }
});
