/** The settings that user data gives an edge, and the identity that an edge reads about itself. */
import { readFileSync } from "node:fs";
import * as z from "zod";
import { Region } from "../../schemas/tenant.ts";
import type { InstanceMetadata } from "./metadata.ts";

export const EdgeSettings = z.strictObject({
  cell: z.string(),
  region: Region,
  bucket: z.string(),
  /** Where it reports, and the id of its role: the first half of its key in that table. */
  reports: z.strictObject({ table: z.string(), region: Region, roleId: z.string() }),
  /** Ed25519 public keys by KMS key id, SPKI in base64. Two during a key rotation. */
  publicKeys: z.record(z.string(), z.string()),
  /** Volatile: nginx.conf, router, routes. Readable by nginx's workers. */
  runDir: z.string(),
  /** Durable: the last good manifest and its objects. */
  stateDir: z.string(),
  nginx: z.strictObject({
    /** The command that runs nginx, with its wrappers first. The agent tests structures with it. */
    command: z.array(z.string()).min(1),
    modules: z.array(z.string()),
    /** The group of nginx's own user, for what both use. Absent: nginx runs as the agent's user, or as anybody. */
    group: z.string().optional(),
    /** Who starts it: the agent, or systemd when the agent writes `runDir`/start. */
    start: z.enum(["agent", "unit"]),
    workers: z.number().int().min(1),
    /** Connections of a worker, at most: memory may allow fewer (capacity.ts). */
    connections: z.number().int().min(64),
  }),
  /** The command that runs iproute2's ss, with its wrappers first. ss ends sessions, which needs CAP_NET_ADMIN. */
  sockets: z.array(z.string()).min(1),
});
export type EdgeSettings = z.infer<typeof EdgeSettings>;

/** The instance itself: its id, the address it listens on and connects from (undefined: every address). */
export interface Identity {
  edgeId: string;
  address: string;
  listenAddress: string | undefined;
}

export function readSettings(file = process.env.LANDFALL_SETTINGS ?? "/etc/landfall/edge.json"): EdgeSettings {
  return EdgeSettings.parse(JSON.parse(readFileSync(file, "utf8")));
}

/** Reads the identity from the environment if it is set there, else from the instance's metadata. */
export async function readIdentity(metadata: InstanceMetadata, env = process.env): Promise<Identity> {
  const { LANDFALL_EDGE_ID: edgeId, LANDFALL_ADDRESS: address } = env;
  if (edgeId !== undefined && address !== undefined) return { edgeId, address, listenAddress: address };
  const told = async (path: string) => {
    const text = await metadata.get(path);
    if (text === undefined) throw new Error(`the instance metadata has no ${path}`);
    return text;
  };
  return { edgeId: await told("instance-id"), address: await told("local-ipv4"), listenAddress: undefined };
}
