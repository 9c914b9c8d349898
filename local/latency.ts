/** Two latency profiles. `none` adds nothing; `aws` adds AWS's latencies, each with its source or marked as assumed. */
import { setTimeout as sleep } from "node:timers/promises";

export type ProfileName = "none" | "aws" | "harsh";

export interface Latency {
  name: ProfileName;
  /** Stream record to function, ms. */
  streamMs: number;
  /** One Step Functions transition, ms. */
  transitionMs: number;
  /** PutEvents to target, ms. */
  busMs: number;
  /** First start of a function, ms. */
  coldStartMs: number;
  /** Whether a call to another region is delayed by the round trip. */
  regional: boolean;
  /** Global Accelerator: time from a write until weights take effect, and until DEPLOYED, ms. */
  acceleratorEffectMs: number;
  acceleratorDeployedMs: number;
}

const none: Latency = {
  name: "none",
  streamMs: 0,
  transitionMs: 0,
  busMs: 0,
  coldStartMs: 0,
  regional: false,
  acceleratorEffectMs: 0,
  acceleratorDeployedMs: 0,
};

const aws: Latency = {
  name: "aws",
  streamMs: 250, // Lambda polls a stream's shard four times a second (Lambda developer guide)
  transitionMs: 40, // assumed
  busMs: 200, // assumed; AWS reported a p99 of 235 ms in 2024
  coldStartMs: 300, // assumed, for a bundle under 2 MB on nodejs
  regional: true, // data/aws-inter-region-rtt.csv
  acceleratorEffectMs: 5000, // assumed
  acceleratorDeployedMs: 30_000, // assumed; AWS says minutes for a new accelerator, "about 30 seconds" for failover
};

/** `harsh` has the delays of `aws`, and faults on top (faults.ts). */
export const profiles: Record<ProfileName, Latency> = { none, aws, harsh: { ...aws, name: "harsh" } };

export const wait = (ms: number): Promise<void> => (ms > 0 ? sleep(ms) : Promise.resolve());
