/** How unkind the cloud is: which calls fail although nothing is wrong, at which rates. Seeded, so that a run can be repeated. */
import { Random } from "./random.ts";

/** Shares are from 0 to 1. */
export interface FaultRates {
  /** DynamoDB calls that are throttled. */
  dynamoThrottled: number;
  /** DynamoDB transactions that are cancelled for a conflict. Real conflicts come on top, in every profile. */
  dynamoConflict: number;
  /** Keys of a DynamoDB batch that are left unprocessed. */
  dynamoUnprocessed: number;
  /** Eventually consistent reads are up to this old, ms. */
  staleMs: number;
  /** Calls to Parameter Store, KMS, Step Functions, EventBridge and Scheduler that are throttled. */
  throttled: number;
  /** S3 calls answered with SlowDown, and conditional writes answered with a conflict. */
  s3SlowDown: number;
  s3Conflict: number;
  /** Global Accelerator writes that fail inside the service. */
  acceleratorFault: number;
  /** Function invocations that are killed somewhere in the middle, and that are throttled. */
  functionKilled: number;
  functionThrottled: number;
  /** Events that are delivered twice. */
  duplicates: number;
}
export type FaultName = Exclude<keyof FaultRates, "staleMs">;

export const kind: FaultRates = {
  dynamoThrottled: 0,
  dynamoConflict: 0,
  dynamoUnprocessed: 0,
  staleMs: 0,
  throttled: 0,
  s3SlowDown: 0,
  s3Conflict: 0,
  acceleratorFault: 0,
  functionKilled: 0,
  functionThrottled: 0,
  duplicates: 0,
};

/** The rates of profile `harsh`: a bad hour, not a normal one. All assumed. */
export const harsh: FaultRates = {
  dynamoThrottled: 0.005,
  dynamoConflict: 0.02,
  dynamoUnprocessed: 0.02,
  staleMs: 1000, // "usually within one second or less" (DynamoDB developer guide, read consistency)
  throttled: 0.01,
  s3SlowDown: 0.01,
  s3Conflict: 0.02,
  acceleratorFault: 0.02,
  functionKilled: 0.002,
  functionThrottled: 0.005,
  duplicates: 0.02,
};

export class Faults {
  /** May be changed while the cloud runs. */
  readonly rates: FaultRates;
  readonly random: Random;
  /** How often each fault was made, for reports. */
  readonly counts: Partial<Record<FaultName, number>> = {};

  constructor(rates: Partial<FaultRates> = {}, seed = 1) {
    this.rates = { ...kind, ...rates };
    this.random = new Random(seed);
  }

  /** Whether the fault is to happen now. */
  happens(name: FaultName): boolean {
    const rate = this.rates[name];
    if (!(rate > 0) || !this.random.chance(rate)) return false;
    this.counts[name] = (this.counts[name] ?? 0) + 1;
    return true;
  }
}

/** `dynamoThrottled=0.1` as a command line has it. @throws Error that says what is expected */
export function parseRate(text: string, before: Partial<FaultRates> = {}): Partial<FaultRates> {
  const [name = "", value = ""] = text.split("=");
  const most = name === "staleMs" ? 60_000 : 1;
  const rate = Number(value);
  if (!Object.hasOwn(kind, name) || value === "" || !(rate >= 0 && rate <= most))
    throw new Error(
      `${text} is not a rate: write NAME=SHARE, as in dynamoThrottled=0.1, with one of ${Object.keys(kind).join(", ")}`,
    );
  return { ...before, [name]: rate };
}
