/** What the embedded cloud shows of itself, and takes: `.local/endpoints.json`, and its controls under `/_landfall/`. */
import path from "node:path";
import * as z from "zod";

/** The folder with the logs and endpoints of a running cloud. */
export const localDir = process.env.LANDFALL_LOCAL ?? path.resolve(import.meta.dirname, "../.local");
export const endpointsFile = path.join(localDir, "endpoints.json");

/** Path of the controls on the AWS endpoint. */
export const controlsPrefix = "/_landfall/";

export interface Endpoints {
  aws: { endpoint: string; region: string; accessKeyId: string; secretAccessKey: string };
  profile: string;
  tables: { tenants: string; ledger: string; reports: string; rollouts: string };
  buckets: Record<string, string>;
  bus: string;
  accelerators: {
    cell: string;
    arn: string;
    /** The first of its addresses; users may connect to either. */
    address: string;
    addresses: string[];
    /** Public port → the port on this machine. */
    ports: Record<string, number>;
    slots: { base: number; count: number };
  }[];
  /** City → the source address of clients there. */
  locations: Record<string, string>;
  edges: {
    id: string;
    region: string;
    cell: string;
    pid: number | undefined;
    agentPid: number | undefined;
    dir: string;
    address: string;
  }[];
  publicKeys: Record<string, string>;
  dashboard: string;
}

export const PodRequest = z.strictObject({
  region: z.string(),
  targetHost: z.string().min(1),
  targetPort: z.number().int().min(1).max(65_535),
  /** The port on which the pod listens; by default the target's port. */
  port: z.number().int().min(1).max(65_535).optional(),
  /** The address of an existing pod in the region, to open another port on it. */
  address: z.ipv4().optional(),
});
export type PodRequest = z.infer<typeof PodRequest>;

export interface Pod {
  region: string;
  address: string;
  port: number;
  target: string;
}

/** Records of one name and type in the cloud's own DNS; without values it has none. */
export const DnsRecord = z.strictObject({
  name: z.string().min(1).max(254),
  type: z.enum(["A", "AAAA", "TXT"]),
  values: z.array(z.string().min(1).max(255)).max(20),
});
export type DnsRecord = z.infer<typeof DnsRecord>;

/** What is worse on the way between two places, in both directions. A place is a city, a region, or one address. */
export const Impairment = z.strictObject({
  /** Share of segments that are lost, 0 to 1. */
  lossShare: z.number().min(0).max(1).optional(),
  /** Each segment is late by up to this much more. */
  jitterMs: z.number().min(0).max(60_000).optional(),
  /** The round trip instead of the measured one. */
  rttMs: z.number().min(0).max(60_000).optional(),
  /** Nothing passes. */
  cut: z.boolean().optional(),
});
export type Impairment = z.infer<typeof Impairment>;

/** Impairs the way between two places from now on, open connections too; without an impairment it is as measured again. */
export const PathRequest = z.strictObject({ from: z.string(), to: z.string(), impairment: Impairment.optional() });
export type PathRequest = z.infer<typeof PathRequest>;
