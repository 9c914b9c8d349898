/** What the boot functions need: the lock, the services, and the paths. */
import { randomUUID } from "node:crypto";
import type { Faults } from "./faults.ts";
import type { Iam } from "./iam/iam.ts";
import type { Latency } from "./latency.ts";
import type { Lock } from "./lock.ts";
import type { Dns } from "./network/dns.ts";
import type { Geography } from "./network/geography.ts";
import type { Network } from "./network/network.ts";
import type { GlobalAccelerator } from "./services/accelerator/accelerator.ts";
import type { Compute } from "./services/compute.ts";
import type { DynamoDb } from "./services/dynamodb/dynamodb.ts";
import type { Events } from "./services/events/events.ts";
import type { Kms } from "./services/kms.ts";
import type { Lambda } from "./services/lambda/lambda.ts";
import type { StreamMapping } from "./services/lambda/stream-mapping.ts";
import type { S3 } from "./services/s3/s3.ts";
import type { Scheduler } from "./services/scheduler.ts";
import type { Ssm } from "./services/ssm.ts";
import type { States } from "./services/states/states.ts";

export interface BootContext {
  lock: Lock;
  account: string;
  endpoint: string;
  scratch: string;
  logs: string;
  latency: Latency;
  faults: Faults;
  geography: Geography;
  network: Network;
  dns: Dns;
  bundles: Map<string, string>;
  agentBundle: string;
  edgesPerGroup: number | undefined;
  /** Role ARN → the region of the process that uses the role. */
  places: Map<string, string>;
  mappings: StreamMapping[];
  onFault: (error: unknown, what: string) => void;
  services: {
    iam: Iam;
    database: DynamoDb;
    s3: S3;
    ssm: Ssm;
    kms: Kms;
    lambda: Lambda;
    states: States;
    events: Events;
    scheduler: Scheduler;
    accelerator: GlobalAccelerator;
    compute: Compute;
  };
}

export const text = (value: unknown) => String(value);
/** An access key for a session of a role, which `service` assumes for a process in this region. */
export function keyFor(
  { services: { iam }, places }: BootContext,
  { roleArn, service, session, region }: { roleArn: string; service: string; session: string; region: string },
): Record<string, string> {
  const accessKey = `LOCAL${randomUUID().replaceAll("-", "").slice(0, 15).toUpperCase()}`;
  iam.addKey(accessKey, iam.assume(roleArn, service, session));
  places.set(roleArn, region);
  return { AWS_ACCESS_KEY_ID: accessKey, AWS_SECRET_ACCESS_KEY: randomUUID(), AWS_REGION: region };
}

/** Replaces the placeholders that synth wrote for what exists only once it is deployed: public keys, and roles' ids. */
export function withDeployed({ services: { kms, iam } }: BootContext, value: string): string {
  return value
    .replace(/\{\{publicKey ([^}]+)\}\}/g, (_, arn: string) => kms.publicKey(arn))
    .replace(/\{\{roleId ([^}]+)\}\}/g, (_, arn: string) => iam.roleId(arn));
}
