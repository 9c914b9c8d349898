/** What edges pull: the signed manifest, the routes in 64 buckets, each a tree of objects, and the structure. */
import * as z from "zod";
import { snapshotLimits } from "./limits.ts";
import { Check, Port, Region, SessionLimits } from "./tenant.ts";

const Sha256 = z.string().regex(/^[0-9a-f]{64}$/);

/** Where connections go, and how. Backends are `address:port`, IPv6 in brackets, in the tenant's own order. */
const target = {
  backends: z.record(Region, z.array(z.string())),
  proxyProtocol: z.enum(["v1", "v2"]).optional(),
  affinity: z.literal("source").optional(),
  /** `tcp` when absent. */
  check: Check.optional(),
};
export const RouteTarget = z.strictObject(target);
export type RouteTarget = z.infer<typeof RouteTarget>;

/** What an edge needs to serve a slot. */
export const Route = z.strictObject({
  ...target,
  slot: z.number().int().min(0),
  tenantId: z.string(),
  protocol: z.string(),
  /** The tenant's generation that this route renders; a route never changes without a greater one. */
  generation: z.number().int().min(1),
  hostnames: z.array(z.string()),
  wildcards: z.array(z.string()).optional(),
  /** Whose tenant it is: a ledger that is rebuilt learns from it who may share names. */
  account: z.string().optional(),
  /** TCP port of a raw slot; a tls slot has none and is reached by server name. */
  port: Port.optional(),
  /** Of a tls slot: where clients go that offer this entry in ALPN. */
  alpn: z.record(z.string(), RouteTarget).optional(),
  /** Client addresses that may connect, CIDR; every address when absent. */
  allow: z.array(z.string()).optional(),
  /** The tenant's own limits on an edge; the structure has those of the others. */
  sessionLimits: SessionLimits.partial().optional(),
});
export type Route = z.infer<typeof Route>;

/** All routes of a bucket, or of one part of it. */
export const RouteLeaf = z.strictObject({ routes: z.array(Route) });

/** A part of a bucket: the object that holds it, and the bytes of all its routes. */
export const RoutePart = z.strictObject({
  kind: z.enum(["leaf", "branch"]),
  hash: Sha256,
  bytes: z.number().int().min(0),
});
export type RoutePart = z.infer<typeof RoutePart>;

/** A bucket, or a part of one, that is too large for one leaf: its parts by the next digit of their tenants. */
export const RouteBranch = z.strictObject({ parts: z.record(z.string().regex(/^[0-9a-f]$/), RoutePart) });
export type RouteBranch = z.infer<typeof RouteBranch>;

export const RouteObject = z.union([RouteLeaf, RouteBranch]);
export type RouteObject = z.infer<typeof RouteObject>;

/**
 * nginx.conf, router and agent settings, which change only by a staged rollout. An agent ignores fields that it does
 * not know, and refuses a template that needs a value which the agent does not have.
 */
export const Structure = z.object({
  /** Template with `{{name}}` placeholders, which the agent fills with values that only this edge knows. */
  nginxConf: z.string(),
  router: z.string(),
  nearest: z.record(Region, z.array(Region)),
  backendRanges: z.array(z.string()),
  edgeTlsPort: Port,
  healthPort: Port,
  portBase: Port,
  portCount: z.number().int(),
  /** The format of route files for the router (edge/agent/routes/content.ts). An agent refuses any other format. */
  routeFormat: z.literal(1),
  /** Names that clients make of a tenant's, as templates (derived-names.ts), and names that all tenants share. */
  derivedNames: z.array(z.string()).default([]),
  sharedNames: z.array(z.string()).default([]),
  /** What a tenant may have on an edge, if its route says nothing else. */
  sessionLimits: SessionLimits.default({ open: 1_000_000, newPerSecond: 1_000_000 }),
  sessions: z.object({
    /** How long sessions of a route that was removed go on. */
    graceSeconds: z.number().min(0),
    /** A leaving edge waits for `quietSeconds` without a new connection, then closes sessions over `closeSeconds`. */
    quietSeconds: z.number().min(0),
    closeSeconds: z.number().min(0),
    /** A client that does not answer for so long has gone. At least 6. */
    goneSeconds: z.number().min(6).default(90),
  }),
});
export type Structure = z.infer<typeof Structure>;

/** Where an edge is. */
export const EdgePlace = z.strictObject({ id: z.string(), region: Region, address: z.string() });
export type EdgePlace = z.infer<typeof EdgePlace>;

export const Manifest = z.strictObject({
  cell: z.string(),
  generation: z.number().int().min(1),
  /** Identity of the ledger that made it. A ledger restored from a backup must not reuse generations. */
  incarnation: z.string(),
  keyIds: z.array(z.string()).min(1),
  /** SHA-256 of each bucket's first object, in bucket order. */
  routes: z.array(Sha256).length(snapshotLimits.bucketCount),
  structure: z.strictObject({ default: Sha256, overrides: z.record(z.string(), Sha256) }),
  /** The cell's edges, in order: they watch each other. */
  edges: z.array(EdgePlace).default([]),
});
export type Manifest = z.infer<typeof Manifest>;

/** The manifest's exact bytes as text, and signatures over `signedMessage(sha256(bytes))` by key id, base64. */
export const SignedManifest = z.strictObject({
  manifest: z.string(),
  signatures: z.record(z.string(), z.string()),
});
export type SignedManifest = z.infer<typeof SignedManifest>;

/** KMS signs at most 4,096 bytes, less than a manifest: the signed message has the manifest's hash and a purpose. */
export const signedMessage = (sha256: string) => `landfall-manifest-v1\n${sha256}\n`;

export const manifestKey = (cell: string) => `cells/${cell}/manifest.json`;
export const objectKey = (sha256: string) => `objects/${sha256}`;
