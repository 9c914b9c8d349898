/** nginx with the structure and route files, but without an agent: for tests and benches of the data path. */
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { writeAtomically } from "../../edge/agent/files.ts";
import { memoryBytes } from "../../edge/agent/machine.ts";
import { Nginx } from "../../edge/agent/nginx/nginx.ts";
import { renderNginx } from "../../edge/agent/nginx/render.ts";
import { edgeSettings } from "../../edge/user-data.ts";
import type { Structure } from "../../schemas/snapshot.ts";
import { nginxHere } from "./edge.ts";

const structureDir = path.resolve(import.meta.dirname, "../../edge/structure");
const read = (file: string) => readFileSync(path.join(structureDir, file), "utf8");

/** The structure of a deployment, with these ports. */
export const structureOn = (parts: Pick<Structure, "edgeTlsPort" | "portBase" | "portCount">): Structure => ({
  nginxConf: read("nginx.conf"),
  router: read("router.js"),
  nearest: {},
  backendRanges: ["127.0.0.0/8"],
  healthPort: 8080,
  derivedNames: [],
  sharedNames: [],
  sessionLimits: { open: 1_000_000, newPerSecond: 1_000_000 },
  routeFormat: 1,
  sessions: { graceSeconds: 1, quietSeconds: 1, closeSeconds: 1, goneSeconds: 90 },
  ...parts,
});

export interface StandaloneOptions {
  /** A folder that nginx's workers may enter; `run/` is created in it. */
  dir: string;
  /** The address to listen on; undefined means every address. */
  address?: string;
  structure: Structure;
  connections?: number;
}

export class StandaloneEdge {
  readonly nginx: Nginx;
  readonly structure: Structure;
  readonly routes: string;
  readonly #dir: string;

  private constructor(dir: string, nginx: Nginx, structure: Structure) {
    this.#dir = dir;
    this.nginx = nginx;
    this.structure = structure;
    this.routes = path.join(dir, "run/routes");
  }

  static async start({ dir, address, structure, connections = 8192 }: StandaloneOptions): Promise<StandaloneEdge> {
    const reports = { table: "none", region: "us-west-2", roleId: "none" };
    const base = edgeSettings({ cell: "c1", region: "us-west-2", bucket: "none", reports, publicKeys: {} });
    const runDir = path.join(dir, "run");
    const nginx = { ...base.nginx, ...nginxHere(), workers: 1, connections };
    const settings = { ...base, runDir, stateDir: path.join(dir, "state"), nginx };
    const edge = new StandaloneEdge(dir, new Nginx(runDir, nginx), structure);
    for (const kind of ["n", "w", "p"]) mkdirSync(path.join(edge.routes, kind), { recursive: true, mode: 0o755 });
    writeFileSync(path.join(edge.routes, "ready"), "ready", { mode: 0o644 });
    mkdirSync(path.join(runDir, "sessions"), { mode: 0o755 });
    for (const notes of ["sessions/opened", "sessions/refused"]) {
      writeFileSync(path.join(runDir, notes), "");
      chmodSync(path.join(runDir, notes), 0o666);
    }
    const id = "standalone00";
    const { conf, router } = renderNginx({ structure, id, settings, address, memoryBytes: memoryBytes() });
    await edge.nginx.use(id, conf, router);
    return edge;
  }

  /** A route file: `n/<name>`, `w/<parent>` or `p/<port>`. */
  write(file: string, content: string): void {
    writeAtomically(path.join(this.routes, file), content);
  }

  async stop(): Promise<void> {
    await this.nginx.stop();
    rmSync(this.#dir, { recursive: true, force: true });
  }
}
