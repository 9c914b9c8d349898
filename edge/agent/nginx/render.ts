/** Renders nginx's two files from the structure and the settings. Pure. */
import { partsOfTemplate } from "../../../schemas/derived-names.ts";
import { edgeLimits } from "../../../schemas/limits.ts";
import type { Structure } from "../../../schemas/snapshot.ts";
import { type Capacity, capacityOf } from "../capacity.ts";
import type { EdgeSettings } from "../settings.ts";

export interface RenderFacts {
  structure: Structure;
  /** First 12 characters of the structure's hash: part of the router's file name and of the probe's answer. */
  id: string;
  settings: EdgeSettings;
  /** Of the machine. */
  memoryBytes: number;
  /** Undefined: nginx listens on every address, and the kernel chooses the source address. */
  address: string | undefined;
}

const placeholder = /\{\{([a-zA-Z]+)\}\}/g;

/** A third of the time without a word, then four questions. */
const keepalive = (goneSeconds: number) =>
  `so_keepalive=${Math.floor(goneSeconds / 3)}s:${Math.floor(goneSeconds / 6)}s:4`;

/** As the router has it: `["kube.", "name", ""]`. */
function templateFor(template: string): string[] {
  const parts = partsOfTemplate(template);
  if (parts === undefined) throw new Error(`the structure has a derived name that is no template: ${template}`);
  return [parts.before, parts.kind, parts.after];
}

/** It listens on the TLS port and on each slot's, on every address for both families. */
export function capacityFor({ structure, settings, memoryBytes, address }: Omit<RenderFacts, "id">): Capacity {
  const listening = (structure.portCount + 1) * (address === undefined ? 2 : 1);
  return capacityOf({ memoryBytes, connectionsMax: settings.nginx.connections, listening });
}

export function renderNginx(facts: RenderFacts): { conf: string; router: string } {
  const { structure, id, settings, address } = facts;
  const { perSource, connections } = capacityFor(facts);
  const ports = `${structure.portBase}-${structure.portBase + structure.portCount - 1}`;
  const listen = (port: number | string) =>
    (address === undefined ? [`${port}`, `[::]:${port}`] : [`${address}:${port}`])
      .map((where) => `listen ${where} ${keepalive(structure.sessions.goneSeconds)};`)
      .join("\n    ");
  const { modules, workers } = settings.nginx;
  const values: Record<string, string> = {
    structure: id,
    run: settings.runDir,
    modules: modules.map((module) => `load_module ${module};`).join("\n"),
    workers: String(workers),
    connections: String(connections),
    files: String((connections + structure.portCount) * 2),
    listenTls: listen(structure.edgeTlsPort),
    listenSlots: listen(ports),
    sourceMax: String(perSource),
    bind: address === undefined ? "" : `proxy_bind ${address};`,
    bindTls: address === undefined ? "" : "proxy_bind $source;",
    source: address ?? "",
    refusedMax: String(edgeLimits.refusedBytesMax),
    derivedNames: JSON.stringify(structure.derivedNames.map(templateFor)),
    sharedNames: JSON.stringify(structure.sharedNames),
  };
  const fill = (template: string) =>
    template.replace(placeholder, (whole, name: string) => {
      if (whole === "{{name}}") return whole; // part of the template's own comment
      const value = values[name];
      if (value === undefined) throw new Error(`the structure has an unknown placeholder ${whole}`);
      return value;
    });
  return { conf: fill(structure.nginxConf), router: fill(structure.router) };
}
