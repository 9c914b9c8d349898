/** The events of a simulated fleet, drawn from a seed: tenant writes and faults. It is data, so it can be shrunk. */

import { Random } from "../../local/random.ts";
import { type FunctionName, functionNames } from "./functions.ts";

export type Happening =
  | { at: number; kind: "put"; tenantId: string; record: Record<string, unknown> }
  | { at: number; kind: "delete"; tenantId: string }
  /** An instance of the function dies in a call, before or after the call takes effect. `skip` calls succeed first. */
  | { at: number; kind: "crash"; fn: FunctionName; operation?: string; skip: number; effect: boolean }
  /** A call of the function takes `ms`. `skip` calls are not delayed. */
  | { at: number; kind: "stall"; fn: FunctionName; operation?: string; skip: number; ms: number }
  /** A call of the function is throttled. `skip` calls are not. */
  | { at: number; kind: "throttle-call"; fn: FunctionName; operation?: string; skip: number }
  /** The next `calls` calls are throttled. */
  | {
      at: number;
      kind: "throttle";
      service: "dynamodb" | "s3" | "states" | "events" | "globalaccelerator";
      calls: number;
    }
  /** The next `calls` writes meet another one on the same item. */
  | { at: number; kind: "conflict"; calls: number }
  /** The next `calls` batch reads process only some of their keys. */
  | { at: number; kind: "partial"; calls: number }
  /** A region's bucket does not answer. */
  | { at: number; kind: "region-out"; region: number; ms: number }
  /** An edge can't reach its bucket, nor the bus if `silent`. It keeps serving. */
  | { at: number; kind: "cut-off"; edge: number; ms: number; silent: boolean }
  /** An edge's agent polls late. */
  | { at: number; kind: "lag"; edge: number; ms: number }
  /** An edge's reports are lost. */
  | { at: number; kind: "unheard"; edge: number; ms: number }
  /** An edge's machine stops and goes on after `ms`. */
  | { at: number; kind: "hang"; edge: number; ms: number }
  /** An edge's instance is terminated. Another one replaces it. */
  | { at: number; kind: "terminate"; edge: number }
  /** An edge refuses new routes for SSH. */
  | { at: number; kind: "refuse"; edge: number; ms: number }
  /** A monitor takes an edge, or a region of the first cell, for degraded. */
  | { at: number; kind: "degraded"; edge: number; region?: number; ms: number }
  /** The platform team deploys a structure with this hash, the digit 64 times. Edges refuse a bad one. */
  | { at: number; kind: "structure"; cell: number; digit: string; isBad: boolean }
  /** The platform team freezes the fleet. */
  | { at: number; kind: "freeze"; ms: number }
  /** What a cell's publisher still has to do is lost: an execution failed for good. */
  | { at: number; kind: "lose-work"; cell: number }
  /** The ledger is restored to what it was `backMs` before. */
  | { at: number; kind: "restore"; backMs: number }
  /** Another program changes a route in the ledger: the `nth` one. */
  | { at: number; kind: "alter"; nth: number }
  /** The stream delivers `count` records again, out of order. */
  | { at: number; kind: "redeliver"; back: number; count: number }
  | { at: number; kind: "audit" | "reconcile" };

export interface Script {
  seed: number;
  happenings: Happening[];
}

/** How long the script runs. Afterwards nothing fails any more. */
export const troubleMs = 6 * 60_000;

/** Two pairs share a route bucket: ash and apple, elm and plum. */
const tenantIds = ["ash", "apple", "cedar", "elm", "plum"];
/** Beside and below each other, and some in several spellings. */
const names = [
  "a.one.com",
  "B.One.com.",
  "one.com",
  "x.a.one.com",
  "münchen.two.com",
  "xn--mnchen-3ya.two.com",
  "d.tenants.example.com",
  "e.D.tenants.example.com",
];
const wildcards = ["*.one.com", "*.two.com", "*.a.one.com", "*.d.tenants.example.com."];
const accounts = ["first", "second"];
const protocols = ["tls", "ssh", "postgres"];

export function scriptOf(seed: number): Script {
  const random = new Random(seed);
  const count = random.between(10, 50);
  const happenings = Array.from({ length: count }, () => happening(random)).flatMap((one) =>
    one.kind === "put" && random.chance(0.4) ? [one, sequel(random, one)] : [one],
  );
  if (random.chance(0.4)) happenings.push(...overtaking(random));
  if (random.chance(0.3)) happenings.push(...burst(random));
  if (random.chance(0.15)) happenings.push(...abandoned(random));
  if (random.chance(0.5)) happenings.push(...life(random));
  if (random.chance(0.2)) happenings.push(...withdrawals(random));
  if (random.chance(0.2)) happenings.push(...lateWithdrawal(random));
  if (random.chance(0.1)) {
    const at = random.between(60_000, troubleMs - 100_000);
    happenings.push({ at, kind: "restore", backMs: random.between(1000, at) });
  }
  if (random.chance(0.1)) happenings.push({ at: random.below(troubleMs), kind: "alter", nth: random.below(20) });
  if (random.chance(0.3)) happenings.push({ at: random.below(troubleMs), kind: "lose-work", cell: random.below(2) });
  if (random.chance(0.25))
    happenings.push({ at: random.below(troubleMs / 2), kind: "freeze", ms: random.pick([20_000, 150_000]) });
  return { seed, happenings: happenings.sort((a, b) => a.at - b.at) };
}

/** A second write for the same tenant soon afterwards, because overlapping writes find most faults. */
const sequel = (random: Random, { at, tenantId }: { at: number; tenantId: string }): Happening => {
  const later = at + random.below(3000);
  return random.chance(0.3)
    ? { at: later, kind: "delete", tenantId }
    : { ...(put(random, later) as Extract<Happening, { kind: "put" }>), ...renamed(random, later, tenantId) };
};
function renamed(random: Random, at: number, tenantId: string) {
  const { record } = put(random, at) as Extract<Happening, { kind: "put" }>;
  return { tenantId, record: { ...record, tenantId } };
}

/** The most sensitive calls: a fault right before or after a function's write. */
const sore: { fn: FunctionName; operation: string }[] = [
  { fn: "admit-tenants", operation: "TransactWriteCommand" },
  { fn: "publish-cell", operation: "PutObjectCommand" },
  { fn: "publish-cell", operation: "TransactWriteCommand" },
  { fn: "settle-rollout", operation: "UpdateCommand" },
  { fn: "free-tombstones", operation: "TransactWriteCommand" },
  { fn: "apply-accelerator", operation: "UpdateEndpointGroupCommand" },
];
const target = (random: Random) => ({
  ...(random.chance(0.7) ? random.pick(sore) : { fn: random.pick(functionNames) }),
  skip: random.below(random.pick([1, 4, 20])),
});

/** An edge that nobody hears and that hears nobody, and tenants that give up what it serves and want what is given up. */
function abandoned(random: Random): Happening[] {
  const at = random.below(30_000);
  return [
    { at, kind: "cut-off", edge: random.below(8), ms: 320_000, silent: true },
    ...tenantIds.map((tenantId): Happening => ({ at: at + random.between(1000, 30_000), kind: "delete", tenantId })),
    ...tenantIds.map(() => put(random, at + random.between(200_000, 300_000))),
  ];
}

/** What happens to edges, and new structures. */
function life(random: Random): Happening[] {
  return Array.from({ length: random.between(1, 6) }, (): Happening => {
    const at = random.below(troubleMs);
    const edge = random.below(8);
    const ms = random.pick([3000, 30_000, 100_000, 250_000]);
    switch (random.below(6)) {
      case 0:
        return { at, kind: "hang", edge, ms };
      case 1:
        return { at, kind: "terminate", edge };
      case 2:
        return { at, kind: "refuse", edge, ms };
      case 3:
        return { at, kind: "degraded", edge, ms };
      case 4:
        return { at, kind: "degraded", edge, region: random.below(2), ms };
      default: {
        const isBad = random.chance(0.3);
        return {
          at,
          kind: "structure",
          cell: random.below(2),
          digit: isBad ? "b" : random.pick(["5", "6", "7"]),
          isBad,
        };
      }
    }
  });
}

/** Edges that are degraded one after the other, while a writer of the accelerator is slow. */
function withdrawals(random: Random): Happening[] {
  const at = random.below(troubleMs - 60_000);
  const operation = random.pick(["UpdateEndpointGroupCommand", "UpdateCommand", "ListEndpointGroupsCommand"]);
  return [
    { at, kind: "stall", fn: "apply-accelerator", operation, skip: random.below(3), ms: random.between(3000, 60_000) },
    ...Array.from({ length: random.between(2, 8) }, (): Happening => {
      const when = at + random.below(40_000);
      return { at: when, kind: "degraded", edge: random.below(8), ms: random.between(2000, 30_000) };
    }),
  ];
}

/** A writer that hangs before it withdraws the first edge, which is healthy again when the others are degraded. */
function lateWithdrawal(random: Random): Happening[] {
  const at = random.below(troubleMs - 60_000);
  const ms = random.between(10_000, 25_000);
  const others = [1, 2].map((edge): Happening => {
    return { at: at + random.between(3000, 6000), kind: "degraded", edge, ms: 60_000 };
  });
  return [
    { at, kind: "stall", fn: "apply-accelerator", operation: "UpdateCommand", skip: random.below(2), ms },
    { at, kind: "degraded", edge: 0, ms: 3000 },
    ...others,
  ];
}

/** One tenant that writes many times in a short time. */
function burst(random: Random): Happening[] {
  const at = random.below(troubleMs - 10_000);
  const tenantId = random.pick(tenantIds);
  return Array.from({ length: random.between(5, 15) }, () => {
    const when = at + random.below(2500);
    return random.chance(0.1)
      ? { at: when, kind: "delete", tenantId }
      : { ...(put(random, when) as Extract<Happening, { kind: "put" }>), ...renamed(random, when, tenantId) };
  });
}

/** A publisher that hangs in the middle of its copies, and changes that another one publishes meanwhile. */
function overtaking(random: Random): Happening[] {
  const at = random.below(troubleMs - 60_000);
  return [
    { at, kind: "stall", fn: "publish-cell", operation: "PutObjectCommand", skip: random.below(6), ms: 50_000 },
    put(random, at + 1),
    put(random, at + random.between(16_000, 30_000)),
    put(random, at + random.between(30_000, 45_000)),
  ];
}

function happening(random: Random): Happening {
  const at = random.below(troubleMs);
  const long = () => random.pick([3000, 20_000, 90_000, 300_000]);
  const roll = random.below(100);
  if (roll < 40) return put(random, at);
  if (roll < 52) return { at, kind: "delete", tenantId: random.pick(tenantIds) };
  if (roll < 56) return { at, kind: "throttle-call", ...target(random) };
  if (roll < 64) return { at, kind: "crash", ...target(random), effect: random.chance(0.5) };
  if (roll < 73) return { at, kind: "stall", ...target(random), ms: random.pick([500, 5000, 20_000, 50_000, 50_000]) };
  if (roll < 74) return { at, kind: "conflict", calls: random.between(1, 6) };
  if (roll < 76) return { at, kind: "partial", calls: random.between(20, 80) };
  if (roll < 79)
    return {
      at,
      kind: "throttle",
      service: random.pick(["dynamodb", "s3", "states", "events", "globalaccelerator"] as const),
      calls: random.between(1, 8),
    };
  if (roll < 82) return { at, kind: "region-out", region: random.below(2), ms: long() };
  if (roll < 88) return { at, kind: "cut-off", edge: random.below(8), ms: long(), silent: random.chance(0.6) };
  if (roll < 91) return { at, kind: "lag", edge: random.below(8), ms: long() };
  if (roll < 94) return { at, kind: "unheard", edge: random.below(8), ms: long() };
  if (roll < 97) return { at, kind: "redeliver", back: random.between(1, 12), count: random.between(1, 6) };
  return { at, kind: random.pick(["audit", "reconcile"] as const) };
}

function put(random: Random, at: number): Happening {
  const tenantId = random.pick(tenantIds);
  const some = <T>(items: readonly T[], chance: number) => items.filter(() => random.chance(chance));
  const chosen = some(protocols, 0.5);
  const hostnames = some(names, 0.2);
  const record = {
    tenantId,
    hostnames,
    ...(random.chance(0.2) ? { wildcards: some(wildcards, 0.3) } : {}),
    ...(random.chance(0.4) ? { account: random.pick(accounts) } : {}),
    homeRegion: random.chance(0.95) ? "us-west-2" : "mars-north-1",
    protocols: Object.fromEntries((chosen.length > 0 ? chosen : ["tls"]).map((name, index) => [name, 3000 + index])),
    backends: { "us-west-2": [`10.0.0.${random.between(1, 200)}`] },
    ...(random.chance(0.1) ? { suspended: true } : {}),
  };
  return { at, kind: "put", tenantId, record };
}
