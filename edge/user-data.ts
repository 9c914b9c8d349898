/** The cloud-init user data that starts an edge. It is JSON, which is valid YAML, so programs can read it back. */
import type { EdgeSettings } from "./agent/settings.ts";

export function edgeSettings(
  parts: Pick<EdgeSettings, "cell" | "region" | "bucket" | "reports" | "publicKeys">,
): EdgeSettings {
  return {
    ...parts,
    runDir: "/run/landfall",
    stateDir: "/var/lib/landfall",
    sockets: ["ss"],
    nginx: {
      // For tests of a structure, without the agent's rights: landfall-nginx.service runs nginx as a user of its own.
      command: ["setpriv", "--ambient-caps=-all", "--inh-caps=-all", "nginx"],
      group: "landfall-nginx",
      start: "unit",
      modules: ["/usr/lib64/nginx/modules/ngx_stream_js_module.so"],
      workers: 2,
      connections: 131_072, // must exceed twice the listening ports (IPv4 and IPv6): each worker holds all
    },
  };
}

const nginxRepository = `[nginx]
name=nginx
baseurl=https://nginx.org/packages/amzn/2023/$basearch/
gpgcheck=1
gpgkey=https://nginx.org/keys/nginx_signing.key
enabled=1
# Before the distribution's own nginx: modules fit one build only.
priority=9
module_hotfixes=true
`;

/**
 * Outgoing ports don't overlap slot ports. nginx sets no keepalive times for connections to backends, so these apply:
 * they are shorter than the idle time-outs of load balancers and gateways on the path. Keepalives wait while data waits for
 * an answer: after eight tries, about 100 s, a peer that is silent has gone as well.
 */
const sysctl = `net.ipv4.ip_local_port_range = 32768 60999
net.core.somaxconn = 4096
net.ipv4.tcp_keepalive_time = 60
net.ipv4.tcp_keepalive_intvl = 30
net.ipv4.tcp_keepalive_probes = 4
net.ipv4.tcp_retries2 = 8
`;

/** cloud-init runs a command only once, so commands that need the network retry until they succeed. */
const until = (command: string) => `until ${command}; do sleep 5; done`;

/** The units of an edge, by file name. */
export type Units = Record<"landfall-agent.service" | "landfall-nginx.service" | "landfall-nginx.path", string>;

export function userData(settings: EdgeSettings, units: Units): string {
  const file = (path: string, content: string) => ({ path, content, permissions: "0644" });
  const agent = `s3://${settings.bucket}/agent/agent.mjs`;
  return `#cloud-config\n${JSON.stringify(
    {
      write_files: [
        file("/etc/landfall/edge.json", JSON.stringify(settings)),
        ...Object.entries(units).map(([name, text]) => file(`/etc/systemd/system/${name}`, text)),
        file("/etc/yum.repos.d/nginx.repo", nginxRepository),
        file("/etc/sysctl.d/90-landfall.conf", sysctl),
      ],
      runcmd: [
        "useradd --system --user-group --shell /usr/sbin/nologin landfall-nginx",
        "useradd --system --user-group --shell /usr/sbin/nologin landfall",
        until("dnf install -y nginx nginx-module-njs nodejs24 iproute util-linux"),
        "dnf install -y jemalloc || true",
        "systemctl disable --now nginx",
        "sysctl --system",
        "mkdir -p /opt/landfall",
        until(`aws s3 cp ${agent} /opt/landfall/agent.mjs --region ${settings.region}`),
        "systemctl daemon-reload && systemctl enable --now landfall-nginx.path landfall-agent",
      ],
    },
    null,
    1,
  )}\n`;
}

/** Reads the settings back from the user data above. */
export function settingsIn(data: string): unknown {
  const { write_files: files } = JSON.parse(data.slice(data.indexOf("\n"))) as {
    write_files: { path: string; content: string }[];
  };
  const found = files.find(({ path }) => path === "/etc/landfall/edge.json");
  if (found === undefined) throw new Error("the user data has no /etc/landfall/edge.json");
  return JSON.parse(found.content);
}
