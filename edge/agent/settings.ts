/** What user data tells an edge, and what it finds out about itself. */
import { readFileSync } from "node:fs";
import * as z from "zod";
import { Region } from "../../schemas/tenant.ts";

export const EdgeSettings = z.strictObject({
  cell: z.string(),
  region: Region,
  bucket: z.string(),
  /** Ed25519 public keys by KMS key id, SPKI in base64. Two while one is rotated. */
  publicKeys: z.record(z.string(), z.string()),
  /** Volatile: nginx.conf, router, routes. Readable by nginx's workers. */
  runDir: z.string(),
  /** Durable: the last good manifest and its objects. */
  stateDir: z.string(),
  nginx: z.strictObject({
    command: z.string(),
    modules: z.array(z.string()),
    /** Only of use when nginx starts as root. */
    user: z.string().optional(),
    workers: z.number().int().min(1),
    connections: z.number().int().min(64),
  }),
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

const metadata = "http://169.254.169.254/latest";

/** From the environment where one is given, else from the instance's metadata (IMDSv2). */
export async function readIdentity(env = process.env): Promise<Identity> {
  const { LANDFALL_EDGE_ID: edgeId, LANDFALL_ADDRESS: address } = env;
  if (edgeId !== undefined && address !== undefined) return { edgeId, address, listenAddress: address };
  const ask = async (path: string, init: RequestInit) => {
    const answer = await fetch(`${metadata}/${path}`, { ...init, signal: AbortSignal.timeout(2000) });
    if (!answer.ok) throw new Error(`instance metadata ${path} answered ${answer.status}`);
    return answer.text();
  };
  const token = await ask("api/token", { method: "PUT", headers: { "x-aws-ec2-metadata-token-ttl-seconds": "300" } });
  const headers = { "x-aws-ec2-metadata-token": token };
  return {
    edgeId: await ask("meta-data/instance-id", { headers }),
    address: await ask("meta-data/local-ipv4", { headers }),
    listenAddress: undefined,
  };
}
