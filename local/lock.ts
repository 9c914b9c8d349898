/** Reads infra.lock.json: resources by type, with addresses in this cloud's loopback network. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import path from "node:path";
import { defaultNetwork } from "./network/geography.ts";

export interface LockedResource {
  name: string;
  region: string;
  handler?: string;
  inputs: Record<string, unknown>;
}

/** Types that the cloud boots. `elsewhere` lists the other known types, with the reason. Unknown types are refused. */
const booted = new Set([
  "aws:autoscaling/group:Group",
  "aws:cloudwatch/eventBus:EventBus",
  "aws:cloudwatch/eventBusPolicy:EventBusPolicy",
  "aws:cloudwatch/eventRule:EventRule",
  "aws:cloudwatch/eventTarget:EventTarget",
  "aws:dynamodb/table:Table",
  "aws:ec2/launchTemplate:LaunchTemplate",
  "aws:globalaccelerator/accelerator:Accelerator",
  "aws:globalaccelerator/listener:Listener",
  "aws:iam/instanceProfile:InstanceProfile",
  "aws:iam/role:Role",
  "aws:iam/rolePolicy:RolePolicy",
  "aws:kms/key:Key",
  "aws:lambda/eventSourceMapping:EventSourceMapping",
  "aws:lambda/function:Function",
  "aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig",
  "aws:lambda/permission:Permission",
  "aws:s3/bucket:Bucket",
  "aws:s3/bucketObjectv2:BucketObjectv2",
  "aws:s3/bucketPolicy:BucketPolicy",
  "aws:s3/bucketVersioning:BucketVersioning",
  "aws:scheduler/schedule:Schedule",
  "aws:sfn/stateMachine:StateMachine",
  "aws:ssm/parameter:Parameter",
]);
const elsewhere: Record<string, string> = {
  "aws:cloudwatch/logGroup:LogGroup": "functions log to files",
  "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": "no bucket here is public",
};

export class Lock {
  readonly #byType = new Map<string, LockedResource[]>();

  constructor(text: string) {
    const { resources } = JSON.parse(text) as { resources: Record<string, Omit<LockedResource, "name">> };
    for (const [key, resource] of Object.entries(resources)) {
      const [type = "", name = ""] = key.split(" ");
      if (type in elsewhere) continue;
      if (!booted.has(type)) throw new Error(`infra.lock.json has a ${type}, which the embedded cloud does not boot`);
      this.#byType.set(type, [...(this.#byType.get(type) ?? []), { name, ...resource }]);
    }
  }

  all(type: string): LockedResource[] {
    if (!booted.has(type)) throw new Error(`${type} is not booted from the lock`);
    return this.#byType.get(type) ?? [];
  }
}

export const lockFile = path.resolve(import.meta.dirname, "../infra.lock.json");

/**
 * Rewrites the lock's text for another loopback network. The structure contains addresses, and its key is its hash. So
 * the hash changes too, and is replaced wherever it occurs.
 */
export function relocate(text: string, network: number): string {
  if (network === defaultNetwork) return text;
  let moved = text.replaceAll(`127.${defaultNetwork}.`, `127.${network}.`);
  const { resources } = JSON.parse(moved) as {
    resources: Record<string, { inputs: { key?: string; content?: string } }>;
  };
  for (const { inputs } of Object.values(resources)) {
    const named = /^objects\/([0-9a-f]{64})$/.exec(inputs.key ?? "")?.[1];
    if (named === undefined || inputs.content === undefined) continue;
    moved = moved.replaceAll(named, createHash("sha256").update(inputs.content).digest("hex"));
  }
  return moved;
}

export const readLock = (network: number, file = lockFile) => new Lock(relocate(readFileSync(file, "utf8"), network));
